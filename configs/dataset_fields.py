"""The configuration fields of the dataset's stages, once, with their meaning."""

from ml_collections import ConfigDict


def sections() -> dict[str, ConfigDict]:
    """The sections of `common.base` that these stages read."""
    return {
        "source": _source(),
        "dataset": _dataset(),
        "audit": _audit(),
        "download": _download(),
        "split": _split(),
        "pack": ConfigDict({"shard_mb": 256.0}),  # 10^6 bytes a file, about
        # The generated collection of stage demo_data.
        "demo": ConfigDict(
            {
                "species": 36,
                "images": 2400,
                "image_size": 224,
                "held_out": 5,  # further species, which nothing is trained on
                "unknown": 8,  # pictures of each kind that shows no plant
                "workers": 2,
            }
        ),
    }


def _source() -> ConfigDict:
    return ConfigDict(
        {
            # mongodb://[user:password@]host[:port]/, or a dump: a .json array, a .jsonl
            # / .json of Extended JSON lines (mongoexport), a .bson (mongodump). Left
            # as it is, the environment variable APLANTIDA_MONGODB_URI is read instead,
            # so that no password need stand on a command line.
            "uri": "mongodb://localhost:27017/",
            "database": "aplantida_db",
            "collection": "plants",
            "batch_size": 200,  # documents a read
            "fields": ("latinName", "commonName", "commonNameEn", "family", "images")
            + ("distribution",),
        }
    )


def _dataset() -> ConfigDict:
    return ConfigDict(
        {
            # A class with fewer passing images is left out of the label map.
            "min_images_per_species": 5,
            "min_image_side": 100,  # pixels; smaller images are left out
            # "production": CC0, public domain, CC-BY, CC-BY-SA; "experimental": any
            # licence that the table knows.
            "licence_profile": "production",
            "sources": (),  # values of images.source to keep; () keeps all
            "synonyms": "",  # JSON file {"synonym": "accepted name"}
            # Species that nothing is trained on: this share of them, by a hash of name
            # and seed, and those of these names. Stage out_of_distribution asks the
            # student about their photos. Subspecies go with their species.
            "hold_out_share": 0.0,
            "hold_out": (),
            # And those with too few photos to be a class, which costs no class.
            "hold_out_rare": True,
        }
    )


def _audit() -> ConfigDict:
    return ConfigDict(
        {
            # URLs asked with HEAD (ranged GET where HEAD is refused); -1 asks all.
            "sample_urls": 500,
            "thumbnails": 12,  # of duplicate pairs, in the HTML page
        }
    )


def _download() -> ConfigDict:
    return ConfigDict(
        {
            "cache_dir": "",  # default: <data_dir>/cache
            "cache_size_gb": 220.0,
            # Hosts that may be asked, "*.example.com" for subdomains; () is any public.
            "allowed_hosts": (),
            # Private and loopback addresses are refused at every hop, unless listed.
            "private_hosts": (),
            "requests_per_second": 10.0,  # per host
            "concurrency": 8,  # requests under way per host
            # Hosts asked at a time; downloads that share a cache share out the hosts.
            "parallel_hosts": 8,
            "timeout_s": 60.0,  # wall clock for one image, redirects included
            # An answer that stays below this rate after the grace is given up.
            "least_bytes_per_second": 1000.0,
            "slow_grace_s": 10.0,
            "max_bytes": 40_000_000,  # of one body, after decompression
            "max_pixels": 100_000_000,  # refused by its header, before decoding
            "retries": 3,  # of temporary failures, per run
            # Pauses of a whole host after 429 or 503, one after another.
            "pauses_s": (60.0, 120.0, 300.0, 600.0),
            "max_retry_after_s": 3600.0,
            # Of pauses in a row without any success; 0 goes on for ever.
            "give_up_after_hours": 72.0,
            "user_agent": "aplantida_jax/0.1 (plant identifier)",
            "contact": "",  # mail or URL that a host's operator can write to
            "shrink_short_side": 512,  # pixels; 0 keeps originals
            "jpeg_quality": 90,
            # On a full disk everything waits, and tries again, until patience ends.
            "disk_retry_s": 60.0,
            "disk_patience_s": 21600.0,
            "limit": -1,  # images at most, -1 is all
        }
    )


def _split() -> ConfigDict:
    return ConfigDict(
        {
            # "grouped" never lets duplicates or an observation straddle splits;
            # "random" is the plan's failure, kept to show it.
            "method": "grouped",
            "fractions": (0.8, 0.1, 0.1),  # train, val, test of a class's groups
            "cached_only": True,  # leave out images that are not in the cache
            "phash_distance": 6,  # bits of 64; at most this far is a near duplicate
            # Region sets written beside the whole: one directory each.
            "regions": ("EU_SW", "EU_NORTH,EU_EAST"),
        }
    )
