"""What an audit comes to: the figures to see first, and what asks for a look."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aplantida_jax.data import audit_markup as markup
from aplantida_jax.data.schema_report import MORE_VALUES

BROKEN_TARGET = 0.05  # of the URLs

# The commonest reasons, in words; what is not here speaks for itself.
_MEANINGS = {
    "http_404": "the host does not have it",
    "http_410": "the host has taken it away",
    "http_403": "the host does not let us",
    "html": "a web page instead of a picture: a soft block or an error page",
    "empty": "an answer without bytes",
    "truncated": "the file ends too early",
    "undecodable": "looks like a picture, but cannot be decoded",
    "unsupported": "no format that is read",
    "bomb": "its header promises more pixels than download.max_pixels",
    "oversized": "too many pixels for a format that cannot be decoded smaller",
    "blank": "nothing but transparency",
    "small": "fewer pixels than dataset.min_image_side",
    "too_large": "more bytes than download.max_bytes",
    "too_slow": "fewer bytes a second than are waited for",
    "timeout": "no whole answer in download.timeout_s",
}


def cards(audit: Mapping[str, Any]) -> str:
    """The key figures."""
    rate = audit["broken_url_rate"]
    found = audit["duplicates"]
    shown = [
        markup.card(f"{audit['photos']:,}", "photos"),
        markup.card(f"{audit['classes']['total']:,}", "classes"),
        markup.card(
            "?" if rate is None else f"{rate:.1%}",
            "of the URLs gave no picture",
            bad=rate is not None and rate >= BROKEN_TARGET,
        ),
        markup.card(
            f"{found['exact'] + found['near']:,}" if found else "?",
            "pairs of duplicates",
        ),
        markup.card(
            f"{label_errors(audit):,}" if found else "?",
            "of them under two names",
            bad=label_errors(audit) > 0,
        ),
        markup.card(f"{unknown_licences(audit):,}", "images of unknown licence"),
    ]
    return f'<div class="cards">{"".join(shown)}</div>'


def findings(audit: Mapping[str, Any]) -> str:
    """What asks for attention, as a list; "" when nothing does."""
    items = "".join(f"<li>{markup.text(line)}</li>" for line in sentences(audit))
    return f'<ul class="findings">{items}</ul>' if items else ""


def sentences(audit: Mapping[str, Any]) -> Iterator[str]:
    """One for each thing that somebody should look at or know."""
    rate = audit["broken_url_rate"]
    if rate is not None and rate >= BROKEN_TARGET:
        yield f"{rate:.1%} of the URLs gave no picture; the target is under 5 %."
    if errors := label_errors(audit):
        yield (
            f"{_many(errors, 'pair')} of photos are under the names of two species: "
            "probable label errors."
        )
    if unknown := unknown_licences(audit):
        spellings = _unknown_spellings(audit["licences"])
        yield (
            f"No table knows the licence of {_many(unknown, 'image')}, in {spellings}: "
            "left out."
        )
    download = audit["urls"]["download"]
    if download and (gone := download["not_exported"]):
        yield (
            f"The download holds {_many(gone, 'image')} that the export no longer has, "
            "left out here: run stage download again."
        )
    unnamed = sum(audit["credits"]["photos_without_author"].values())
    if unnamed:
        yield f"{unnamed:,} photos name no author to be credited."
    classes = audit["classes"]
    if few := classes["with_1"] + classes["with_2"]:
        yield f"{few:,} of {classes['total']:,} classes have fewer than three photos."
    nowhere = audit["regions"]["none of these"]
    if nowhere["classes"]:
        yield (
            f"{nowhere['classes']:,} classes with {nowhere['photos']:,} photos have no "
            "country in any region: no regional teacher learns them."
        )


def meaning(reason: str) -> str:
    """What "permanent: http_404" means, "" when it speaks for itself."""
    return _MEANINGS.get(reason.rpartition(": ")[2], "")


def label_errors(audit: Mapping[str, Any]) -> int:
    """Pairs of duplicates under two names; 0 before the download."""
    found = audit["duplicates"]
    if found is None:
        return 0
    return int(found["exact_of_different_classes"] + found["near_of_different_classes"])


def unknown_licences(audit: Mapping[str, Any]) -> int:
    """Images whose licence no table knows."""
    return sum(row["images"] for row in audit["licences"] if row["licence"] is None)


def _unknown_spellings(licences: Sequence[Mapping[str, Any]]) -> str:
    """How many; beyond those that are listed nobody has counted."""
    unknown = [row["raw"] for row in licences if row["licence"] is None]
    listed = sum(raw != MORE_VALUES for raw in unknown)
    more = "more than " if listed < len(unknown) else ""
    return more + _many(listed, "spelling")


def _many(count: int, noun: str) -> str:
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"
