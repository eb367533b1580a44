"""The audit as one HTML file that needs nothing else.

Every figure says on how many images it rests. Of long lists the page shows the head;
audit.json has them whole.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from aplantida_jax.data import audit_findings
from aplantida_jax.data import audit_markup as markup
from aplantida_jax.data.audit_pairs import Shown
from aplantida_jax.data.schema_report import MORE_VALUES

_MOST_ROWS = 40  # of a table
_HOW = {None: "same bytes", 0: "same hash"}
_SECTIONS = {
    "classes": "Images per class",
    "urls": "URLs",
    "images": "Images",
    "duplicates": "Duplicates",
    "licences": "Licences and credits",
    "regions": "Regions and sources",
}


def render(
    audit: Mapping[str, Any], charts: Mapping[bool, bytes], pairs: Sequence[Shown]
) -> str:
    """The page.

    Args:
        audit: what `audit.json` holds.
        charts: the histogram as PNG, for a light and for a dark page: {dark: bytes}.
        pairs: duplicates to show.
    """
    contents = {
        "classes": _classes(audit["classes"], charts),
        "urls": _urls(audit),
        "images": _images(audit["images"]),
        "duplicates": _duplicates(audit, pairs),
        "licences": _licences(audit),
        "regions": _regions(audit),
    }
    links = "".join(f'<a href="#{k}">{title}</a>' for k, title in _SECTIONS.items())
    body = [
        "<h1>Audit of the dataset</h1>",
        markup.paragraph(_about(audit)),
        f"<nav>{links}</nav>",
        audit_findings.cards(audit),
        audit_findings.findings(audit),
        *(markup.section(k, _SECTIONS[k], contents[k]) for k in _SECTIONS),
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>Audit of the dataset</title><style>{markup.STYLE}</style>\n"
        + "\n".join(body)
        + "</html>\n"
    )


def _about(audit: Mapping[str, Any]) -> str:
    export = audit["export"]
    return (
        f"{export['documents_read']:,} documents were read, "
        f"{export['documents_quarantined']:,} of them put into quarantine. Of their "
        f"{export['images_read']:,} images, {audit['photos']:,} may be used under the "
        f"{audit['licence_profile']} profile. Label map {audit['label_map'][:12]}."
    )


def _classes(classes: Mapping[str, Any], charts: Mapping[bool, bytes]) -> str:
    said = (
        f"Median {classes['median']:g}, mean {classes['mean']:g}, largest "
        f"{classes['largest']:,}. A class with one photo can only be trained on; with "
        "two it has one to validate, and from three on one to test."
    )
    names = {"with_1": "one photo", "with_2": "two", "with_3_or_more": "three or more"}
    rows = [
        (name, classes[key], markup.percent(classes[key], classes["total"]))
        for key, name in names.items()
    ]
    alt = "How many classes have how many images"
    chart = (
        '<div class="chart"><picture><source media="(prefers-color-scheme: dark)" '
        f'srcset="{markup.uri(charts[True], "png")}">'
        f"{markup.image(charts[False], 'png', alt)}</picture></div>"
    )
    table = markup.table(("classes with", "classes", "share"), rows)
    return markup.paragraph(said) + chart + table


def _urls(audit: Mapping[str, Any]) -> str:
    parts = []
    rate = audit["broken_url_rate"]
    if rate is not None:
        mark = ' class="bad"' if rate >= audit_findings.BROKEN_TARGET else ""
        parts.append(f"<p><b{mark}>{rate:.1%}</b> broken (target: under 5 %)</p>")
    parts += [
        _answers(audit["urls"]["download"], "asked for by stage download, and decoded"),
        _answers(audit["urls"]["sample"], "asked for just now, without their bodies"),
    ]
    rows, more = markup.folded(audit["hosts"], _MOST_ROWS)
    head = ("host", "photos", "in the cache", "gone", "rejected", "to be asked again")
    keys = ("host", "photos", "ok", "permanent", "rejected", "temporary")
    table = markup.table(head, [[row[key] for key in keys] for row in rows])
    parts.append(markup.subsection("Hosts", table, _beyond(more)))
    return "".join(parts)


def _answers(found: Mapping[str, Any] | None, sentence: str) -> str:
    if found is None or not found["asked"]:
        return markup.paragraph(f"No URLs were {sentence}.")
    said = f"{found['asked']:,} URLs {sentence}."
    if found.get("unasked"):
        said += f" {found['unasked']:,} more were not, as their host was not free."
    asked = found["asked"]
    rows = [("a picture", asked - found["broken"], "")]
    rows += [
        (name, n, audit_findings.meaning(name)) for name, n in found["reasons"].items()
    ]
    return markup.paragraph(said) + markup.table(
        ("answer", "URLs", "share", "what it means"),
        [(name, n, markup.percent(n, asked), means) for name, n, means in rows],
    )


def _images(images: Mapping[str, Any] | None) -> str:
    if images is None:
        return markup.paragraph("Nothing is known before stage download.")
    sides = images["short_side_percentiles"]
    whole = images["downloaded"]
    said = f"Rests on {whole:,} downloaded images."
    names = {
        "exif_turned": "turned upright by their EXIF orientation",
        "exif_impossible": "with an impossible EXIF orientation",
        "featureless": "that show an even surface",
    }
    odd = [
        (n, images[key], markup.percent(images[key], whole)) for key, n in names.items()
    ]
    names_of = {"0": "smallest", "50": "median", "100": "largest"}
    head = [names_of.get(key, f"{key} % up to") for key in sides]
    spread = markup.table(head, [list(sides.values())])
    return (
        markup.paragraph(said)
        + markup.table(("images", "number", "share"), odd)
        + markup.subsection("Short side of the originals, in pixels", spread)
    )


def _duplicates(audit: Mapping[str, Any], pairs: Sequence[Shown]) -> str:
    found = audit["duplicates"]
    if found is None:
        return markup.paragraph("Nothing is known before stage download.")
    said = (
        f"Rests on {found['images']:,} downloaded images, which form "
        f"{found['groups']:,} groups, the largest of {found['largest_group']:,}. Near: "
        f"perceptual hashes differ in at most {found['distance']} of 64 bits. A group "
        "stays in one split."
    )
    rows = [
        ("same bytes", found["exact"], found["exact_of_different_classes"]),
        ("near duplicates", found["near"], found["near_of_different_classes"]),
    ]
    table = markup.table(("pairs", "number", "of different species"), rows)
    parts = [markup.paragraph(said), table]
    apart = [pair for pair in pairs if pair.names[0] != pair.names[1]]
    alike = [pair for pair in pairs if pair.names[0] == pair.names[1]]
    if apart:
        total = found["exact_of_different_classes"] + found["near_of_different_classes"]
        sentence = (
            f"The same photo under two names, {len(apart)} of {total:,} pairs: one of "
            "the names is likely to be wrong. audit.json lists them with their URLs."
        )
        parts.append(_gallery("Probable label errors", sentence, apart))
    if alike:
        sentence = "Of one species; the most doubtful first."
        parts.append(_gallery("Duplicates within a species", sentence, alike))
    return "".join(parts)


def _gallery(title: str, sentence: str, pairs: Sequence[Shown]) -> str:
    figures = []
    for pair in pairs:
        sides = "".join(
            f"<span>{markup.image(data, 'jpeg', name)}{markup.latin(name)}</span>"
            for data, name in zip((pair.left, pair.right), pair.names, strict=True)
        )
        how = _HOW.get(pair.bits, f"{pair.bits} of 64 bits apart")
        caption = markup.text(f"{how} · {' · '.join(pair.ids)}")
        figures.append(
            f'<figure><div class="pair">{sides}</div>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    gallery = f'<div class="pairs">{"".join(figures)}</div>'
    return markup.subsection(title, markup.paragraph(sentence), gallery)


def _licences(audit: Mapping[str, Any]) -> str:
    rows = audit["licences"]
    total = sum(row["images"] for row in rows)
    unknown = [row for row in rows if row["licence"] is None]
    known = [row for row in rows if row["licence"] is not None]
    said = (
        f"Rests on {total:,} images of all documents. A spelling that is not in the "
        "table (licence_forms.py, licence_phrases.py) denies its images. Notices are "
        "listed without their holders."
    )
    parts = [markup.paragraph(said)]
    shown, more = markup.folded(unknown, _MOST_ROWS)
    table = markup.table(
        ("as written", "images", "share"), [_spelling(row, total) for row in shown]
    )
    content = table or markup.paragraph("None.")
    parts.append(markup.subsection("Unknown spellings, denied", content, _beyond(more)))
    shown, more = markup.folded(known, _MOST_ROWS)
    table = markup.table(
        ("as written", "images", "share", "licence", "use"),
        [(*_spelling(row, total), row["licence"], _use(row)) for row in shown],
    )
    parts.append(markup.subsection("Known spellings", table, _beyond(more)))
    parts.append(markup.subsection("Credits", _credits(audit["credits"])))
    return "".join(parts)


def _spelling(row: Mapping[str, Any], total: int) -> tuple[Any, ...]:
    unlisted = {"": "(empty)", MORE_VALUES: "(more, not listed one by one)"}
    raw = unlisted.get(row["raw"]) or markup.code(row["raw"])
    return raw, row["images"], markup.percent(row["images"], total)


def _use(row: Mapping[str, Any]) -> str:
    return "admitted" if row["admitted"] else markup.Markup('<b class="bad">denied</b>')


def _credits(found: Mapping[str, Any]) -> str:
    said = f"{found['authors']:,} authors are to be credited."
    unnamed = found["photos_without_author"]
    if not unnamed:
        return markup.paragraph(said + " Every photo names its author.")
    table = markup.table(("photos that name no author", "photos"), unnamed.items())
    return markup.paragraph(said) + table


def _regions(audit: Mapping[str, Any]) -> str:
    said = "A plant belongs to every region that its countries touch."
    regions = [
        (name, row["classes"], row["photos"]) for name, row in audit["regions"].items()
    ]
    sources, more = markup.folded(list(audit["sources"].items()), _MOST_ROWS)
    return (
        markup.paragraph(said)
        + markup.table(("region", "classes", "photos"), regions)
        + markup.subsection(
            "Sources", markup.table(("source", "photos"), sources), _beyond(more)
        )
    )


def _beyond(more: int) -> str:
    return markup.paragraph(f"And {more:,} more, in audit.json.") if more else ""
