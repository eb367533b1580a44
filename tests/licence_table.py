"""The golden table of licences: what collections write, and what it means.

`golden/licences.txt` has a line "raw string -> SPDX id" for each; "denied" is for what
must not pass. Real spellings are listed under where they come from; those under "Traps"
were made up.
"""

from pathlib import Path

_TABLE = Path(__file__).parent / "golden" / "licences.txt"

# Spelled with escapes, since they cannot be seen.
_INVISIBLE = [
    ("CC\u00a0BY 4.0", "CC-BY-4.0"),  # no-break space
    (" CC  BY\tSA 3.0\n", "CC-BY-SA-3.0"),
    ("CC BY\u2011NC 4.0", "CC-BY-NC-4.0"),  # no-break hyphen
    ("Dominio pu\u0301blico", "CC-PDM-1.0"),  # decomposed
    ("\u0421C BY 4.0", None),  # Cyrillic Es
    ("CC \u0412Y 4.0", None),  # Cyrillic Ve
    ("CC BY\u200b 4.0", None),  # zero-width space
    ("\ufeffCC BY 4.0", None),  # byte order mark
    ("CC BY \u202e4.0", None),  # right-to-left override
    ("\uff23\uff23 \uff22\uff39 4.0", None),  # full-width letters
    ("C\u0336C\u0336 B\u0336Y\u0336", None),  # struck through
    ("CC BY \u0664.\u0660", None),  # Arabic digits
    ("CC BY\x00", None),
    ("CC BY\ud800", None),  # lone surrogate
    ("\u212aCC BY", None),  # Kelvin sign
    ("", None),
    ("   ", None),
    ("CC BY 4.0 " * 100, None),
]


def rows() -> list[tuple[str, str | None]]:
    """(raw, SPDX id or None) of the whole table."""
    found: list[tuple[str, str | None]] = list(_INVISIBLE)
    for line in _TABLE.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("# "):
            raw, licence = line.rsplit(" -> ", 1)
            found.append((raw, None if licence == "denied" else licence))
    return found
