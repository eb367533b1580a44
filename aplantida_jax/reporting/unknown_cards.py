"""Cards of the pictures that it could not know and answered with most confidence.

In: `wrong_answers` of out_of_distribution.json. Held-out photos are in the cache; the
pictures of no plant lie where the stage drew them, or in the folder it was given.
"""

from pathlib import Path
from typing import Any

from aplantida_jax import paths
from aplantida_jax.reporting.criterion import at
from aplantida_jax.reporting.findings import Findings
from aplantida_jax.reporting.markup import latin, percent, text
from aplantida_jax.reporting.thumbnails import Thumbnails

_HELD_OUT = "held_out"


def cards(found: Findings, thumbnails: Thumbnails) -> str:
    """A card for each; "" where there is none."""
    wrong = at(found.out_of_distribution, "wrong_answers")
    if not wrong:
        return ""
    folder = _folder(found)
    shown = "".join(_card(row, folder, thumbnails) for row in wrong)
    return f'<h3>Most certain and wrong</h3><div class="cards">{shown}</div>'


def _card(row: dict[str, Any], folder: Path | None, thumbnails: Thumbnails) -> str:
    if row["kind"].startswith(_HELD_OUT):
        uri, truth = thumbnails.uri(row["image_id"]), f"is {latin(row['name'])}"
    else:
        place = None if folder is None else folder / row["kind"] / row["name"]
        uri = None if place is None else thumbnails.uri_of(place)
        truth = f"is no plant: {text(row['kind'].replace('_', ' '))}"
    picture = "" if uri is None else f'<img src="{uri}" alt="">'  # the words say it
    return (
        f'<div class="card">{picture}<p><b class="wrong">{latin(row["said"])}</b>, '
        f"{percent(row['confidence'], decimals=0)} sure<br>"
        f"<small>{truth}</small></p></div>"
    )


def _folder(found: Findings) -> Path | None:
    """Where the pictures lie: as the stage was told, else where it draws them."""
    student = found.run(found.student)
    if student is None:
        return None
    directory = paths.out_of_distribution(student.workdir).parent
    for record in found.records:
        if record.where == directory:
            given = record.content["config"]["out_of_distribution"]["images_dir"]
            return Path(given) if given else directory / "pictures"
    return directory / "pictures"
