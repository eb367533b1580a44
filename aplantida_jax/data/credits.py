"""Whom to credit for the photos: licence, source and author, with how many photos.

Creative Commons asks for the title, the author, the source and the licence of a work,
and for a word about changes, "in any reasonable manner" (CC BY 4.0, section 3.a). For
741,533 photos that is a list of authors with the number of their photos, below the
source that the collection had them from and the address of the licence. The list grows
with the authors, not with the photos, and the same photos give the same bytes.
"""

import collections
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from aplantida_jax.data import licences

_MOST_HOSTS = 3  # named of a source
# What iNaturalist adds behind an author; the licence stands above the list.
_RIGHTS = re.compile(r",? (?:some|no) rights reserved(?: \([^()]*\))?$", re.IGNORECASE)


class Credits:
    """Collects photos one by one; memory is a count for every author."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], collections.Counter[str]] = {}
        self._hosts: dict[str, collections.Counter[str]] = {}

    def add(self, photo: Mapping[str, Any]) -> None:
        """Counts a photo, given by the fields of `records.Photo`."""
        source = " ".join(photo["source"].split()) or "an unnamed source"
        key = photo["licence"], source
        counts = self._counts.setdefault(key, collections.Counter())
        counts[author_of(photo["attribution"])] += 1
        host = urlsplit(photo["url"]).hostname
        if host:
            self._hosts.setdefault(source, collections.Counter())[host] += 1

    def authors(self) -> int:
        """How many different authors are named."""
        return len(
            {name for counts in self._counts.values() for name in counts if name}
        )

    def unnamed(self) -> dict[str, int]:
        """Licence -> photos whose author the collection does not name."""
        found: collections.Counter[str] = collections.Counter()
        for (licence, _), counts in self._counts.items():
            found[licence] += counts[""]
        return {licence: found[licence] for licence in sorted(found) if found[licence]}

    def lines(self) -> Iterator[str]:
        """The list as text, newlines included."""
        for licence in sorted({licence for licence, _ in self._counts}):
            of_licence = {
                source: counts
                for (other, source), counts in self._counts.items()
                if other == licence
            }
            total = sum(counts.total() for counts in of_licence.values())
            yield f"\n{licence} ({_photos(total)})\n{licences.address(licence)}\n"
            for source in sorted(of_licence):
                yield f"  from {source}{self._where(source)}\n"
                yield from _of_source(of_licence[source])

    def _where(self, source: str) -> str:
        """The hosts that most photos of a source are at."""
        hosts = self._hosts.get(source)
        if not hosts:
            return ""
        most = sorted(hosts, key=lambda host: (-hosts[host], host))[:_MOST_HOSTS]
        more = len(hosts) - len(most)
        named = ", ".join(f"https://{host}/" for host in most)
        return f" ({named}{f' and {more} more' if more else ''})"


def of_photos(photos: Iterable[Mapping[str, Any]]) -> Credits:
    found = Credits()
    for photo in photos:
        found.add(photo)
    return found


def author_of(attribution: str) -> str:
    """ "(c) Ana" of "(c) Ana, some rights reserved (CC BY)"; "" is nobody."""
    return _RIGHTS.sub("", " ".join(attribution.split()))


def _of_source(counts: collections.Counter[str]) -> Iterator[str]:
    for author in sorted(counts, key=lambda name: (name.casefold(), name)):
        if author:
            yield f"    {author} ({counts[author]})\n"
    if counts[""]:
        yield f"    authors whom the source does not name ({counts['']})\n"


def _photos(count: int) -> str:
    return f"{count} photo" if count == 1 else f"{count} photos"
