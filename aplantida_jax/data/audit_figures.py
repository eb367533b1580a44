"""What an audit counts in the photos of an export: classes, hosts, licences, credits.

Everything comes from one pass over `photos.jsonl`, and what the export wrote about the
documents; the figures of the downloaded images are in `image_figures`. The download
may be of an earlier export: what this one no longer has is counted and left out.
"""

import collections
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from aplantida_jax.data import labels, licences, origin, regions
from aplantida_jax.data.credits import Credits
from aplantida_jax.data.journal import OK, PERMANENT, REJECTED, TEMPORARY, Outcome

_BESIDE_THE_DUMP = "(beside the dump)"
_STATUSES = (OK, PERMANENT, REJECTED, TEMPORARY)


@dataclasses.dataclass
class Photos:
    """What one pass over the photos gives.

    Attributes:
        class_of: image id -> class id.
        per_class: int64 [classes]: photos.
        sample: URLs to ask, a random sample because photos come by their hash.
        sources: source -> photos.
        credits: whom to credit.
        hosts: host -> {"photos": n, and once downloaded a count for every status}.
        not_exported: outcomes left out, as their images are none of these photos.
    """

    class_of: dict[str, int]
    per_class: np.ndarray
    sample: list[str]
    sources: collections.Counter[str]
    credits: Credits
    hosts: dict[str, collections.Counter[str]]
    not_exported: int
    _host_of: dict[str, str]

    def outcomes(self, found: Iterable[Outcome]) -> Iterator[Outcome]:
        """Passes on those of these photos, counting their statuses by host."""
        for outcome in found:
            host = self._host_of.get(outcome.image_id)
            if host is None:
                self.not_exported += 1
                continue
            self.hosts[host][outcome.status] += 1
            yield outcome


def collect(rows: Iterable[Mapping[str, Any]], classes: int, sample: int) -> Photos:
    """Reads photos, given by the fields of `records.Photo`.

    Args:
        rows: the photos, by image id.
        classes: of the label map.
        sample: URLs to keep, -1 for all.
    """
    per_class = np.zeros(classes, np.int64)
    photos = Photos({}, per_class, [], collections.Counter(), Credits(), {}, 0, {})
    for row in rows:
        image_id, url = row["image_id"], row["url"]
        photos.class_of[image_id] = row["class_id"]
        per_class[row["class_id"]] += 1
        if sample < 0 or len(photos.sample) < sample:
            photos.sample.append(url)
        photos.sources[row["source"] or "(not named)"] += 1
        photos.credits.add(row)
        # One string a host, not one a photo.
        host = sys.intern(origin.host_of(url) or _BESIDE_THE_DUMP)
        photos.hosts.setdefault(host, collections.Counter())["photos"] += 1
        photos._host_of[image_id] = host
    return photos


def of_classes(per_class: np.ndarray) -> dict[str, Any]:
    """How long the tail is; `per_class` is int64 [classes]."""
    return {
        "total": len(per_class),
        "median": float(np.median(per_class)),
        "mean": round(float(per_class.mean()), 2),
        "largest": int(per_class.max()),
        "with_1": int((per_class == 1).sum()),
        "with_2": int((per_class == 2).sum()),
        "with_3_or_more": int((per_class >= 3).sum()),
    }


def of_hosts(hosts: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """Hosts by their photos; statuses are 0 before the download."""
    ordered = sorted(hosts, key=lambda host: (-hosts[host]["photos"], host))
    return [
        {"host": host, "photos": hosts[host]["photos"]}
        | {status: hosts[host].get(status, 0) for status in _STATUSES}
        for host in ordered
    ]


def of_licences(schema: Mapping[str, Any], profile: str) -> list[dict[str, Any]]:
    """Every spelling in the collection, what it means, how many images have it.

    A row may stand for several: a notice is listed without its holder; past the first
    2,000 spellings the known ones are under their ids, the unknown ones under
    `schema_report.MORE_VALUES`.

    Args:
        schema: schema.json of the export.
        profile: key of `licences.PROFILES`; says which are "admitted".
    """
    field = schema["fields"].get("images[].license", {"values": {}})
    return [
        {
            "raw": text,
            "licence": licences.spdx(text),
            "admitted": licences.allowed(licences.spdx(text), profile),
            "images": count,
        }
        for text, count in field["values"].items()
    ]


def of_credits(found: Credits) -> dict[str, Any]:
    """How many are to be credited, and how many photos name nobody."""
    return {"authors": found.authors(), "photos_without_author": found.unnamed()}


def of_regions(label_map: labels.LabelMap, per_class: np.ndarray) -> dict[str, Any]:
    """Classes and photos of every region; a plant may be in several, or in none."""
    found: dict[str, dict[str, int]] = {}
    for region in regions.REGIONS:
        mask = np.array(label_map.in_regions((region,)))
        found[region] = _count(mask, per_class)
    nowhere = np.array([not taxon.regions for taxon in label_map.taxa])
    found["none of these"] = _count(nowhere, per_class)
    return found


def _count(mask: np.ndarray, per_class: np.ndarray) -> dict[str, int]:
    return {"classes": int(mask.sum()), "photos": int(per_class[mask].sum())}
