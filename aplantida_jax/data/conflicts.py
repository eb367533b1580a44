"""URLs of which documents say different things: which licence, which plant.

An image may be used only if every document that has it gives it a licence that allows
that. Where these differ, the strictest counts. Two names are no reason to leave an
image out, but one of them is wrong, so they are counted. Documents whose images are not
looked at, such as those without a name, have no say.
"""

import functools
import json
import sqlite3

# What a licence asks for; its SPDX id says it in these parts. NonCommercial weighs
# more than all others, NoDerivatives more than ShareAlike.
_CONDITIONS = {"BY": 1, "SA": 2, "ND": 4, "NC": 8}
_COPYLEFT = ("GFDL", "LAL")
LICENCE_CONFLICT = "licence_conflict"


@functools.cache  # a collection has few licences, each of them many times
def strictness(licence: str) -> int:
    """A greater number for stricter conditions; 0 for the public domain.

    Args:
        licence: an SPDX id of `licences.PROFILES`; its version makes no difference.
    """
    parts = licence.split("-")
    if parts[0] in _COPYLEFT:
        parts = ["BY", "SA"]
    return sum(_CONDITIONS.get(part, 0) for part in parts)


def leave_out_denied(db: sqlite3.Connection) -> int:
    """Takes the URLs in `denied` out of `candidates`; returns how many rows that were.

    Their documents get the reason, and those that keep no image become unfit.
    """
    db.execute(
        "CREATE TABLE lost AS SELECT rowid AS candidate, document FROM candidates "
        "WHERE image_id IN (SELECT image_id FROM denied)"
    )
    db.execute("DELETE FROM candidates WHERE rowid IN (SELECT candidate FROM lost)")
    losers = db.execute(
        "SELECT document, COUNT(*), images, rejected FROM lost "
        "JOIN plants USING (document) GROUP BY document"
    ).fetchall()
    for document, lost, images, rejected in losers:
        reasons = json.loads(rejected) | {LICENCE_CONFLICT: lost}
        db.execute(
            "UPDATE plants SET rejected = ? WHERE document = ?",
            (json.dumps(reasons, sort_keys=True), document),
        )
        if lost == images:
            db.execute(
                "INSERT INTO unfit SELECT plant_id, place, 'no_usable_image', "
                "'other documents deny every image', rejected FROM plants "
                "WHERE document = ?",
                (document,),
            )
            db.execute("DELETE FROM plants WHERE document = ?", (document,))
    return sum(lost for _, lost, _, _ in losers)


def note_names(db: sqlite3.Connection) -> int:
    """Fills `several_names`; returns how many URLs have documents of several names.

    To be called when `photos` holds one row of each URL, and `candidates` still all.
    """
    db.execute(
        "CREATE TABLE ambiguous AS SELECT DISTINCT image_id FROM candidates "
        "JOIN photos USING (image_id) WHERE candidates.latin_name != photos.latin_name"
    )
    db.execute(
        "INSERT INTO several_names SELECT document, COUNT(DISTINCT image_id) "
        "FROM candidates WHERE image_id IN (SELECT image_id FROM ambiguous) "
        "GROUP BY document"
    )
    return db.execute("SELECT COUNT(*) FROM ambiguous").fetchone()[0]
