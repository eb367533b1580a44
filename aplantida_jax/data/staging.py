"""Where an export gathers plants and photos until it knows which classes stay.

A private SQLite database in a temporary file: 741,533 photos need no memory, and the
result does not depend on the order in which documents come:

- documents of one name are one class: their images and countries are united, and each
  of its names is that of the lowest `_id` that has one;
- images of one URL are one image: that of the strictest licence, then of the lowest
  (`_id`, name, fields); none, if a document denies it (`conflicts`).
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from aplantida_jax.data import conflicts, names, regions
from aplantida_jax.data.hold_out import NO_CLASS, NOTHING, HoldOut
from aplantida_jax.data.labels import LabelMap, Taxon
from aplantida_jax.data.plant_document import Candidate, Plant, Unfit

_SCHEMA = """
CREATE TABLE plants (
    document INTEGER PRIMARY KEY, plant_id, place, latin_name, about, images, rejected
);
CREATE TABLE unfit (plant_id, place, reason, detail, rejected);
CREATE TABLE candidates (
    image_id, document, strictness, plant_id, latin_name, fields
);
CREATE TABLE denied (image_id);
CREATE TABLE held_out (latin_name PRIMARY KEY);
CREATE TABLE several_names (document INTEGER PRIMARY KEY, images);
CREATE TABLE photos (
    image_id PRIMARY KEY, plant_id, latin_name, fields
) WITHOUT ROWID;
"""
# The lowest row of an image wins, whichever came first. Sorted at once, which SQLite
# does with little memory, this costs a third of keeping the table in order all along.
_PUT_PHOTOS = """
INSERT OR IGNORE INTO photos
SELECT image_id, plant_id, latin_name, fields FROM candidates
ORDER BY 1, strictness DESC, 2, 3, 4
"""
# What only the download and the split know of a photo.
_UNKNOWN_YET = {"sha256": "", "phash": "", "group_id": ""}


class Counts(NamedTuple):
    """What became of the documents and of the fitting documents' images."""

    exported: int
    quarantined: int
    photos: int
    held_out_photos: int
    held_out_species: int
    duplicate_urls: int
    urls_with_several_names: int
    licence_conflicts: int
    in_rare_classes: int


class Staging:
    """Add everything, then `settle` once, then read."""

    def __init__(self, directory: Path) -> None:
        """Makes an empty one, whose files lie in `directory` and have no names."""
        # An empty name is a temporary file that vanishes with the connection.
        self._db = sqlite3.connect("", isolation_level=None)
        # What is sorted goes to disk as well. Only this pragma puts both on the disk
        # that has room for the dataset; without it they would fill the system's.
        quoted = str(directory).replace("'", "''")
        self._db.execute(f"PRAGMA temp_store_directory = '{quoted}'")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")
        self._documents = 0
        self._candidates = 0
        self._licence_conflicts = 0
        self._several_names = 0

    def add(self, plant: Plant, where: str) -> None:
        about = [plant.common_name, plant.common_name_en, plant.family, plant.countries]
        self._documents += 1
        document, identifier, name = self._documents, plant.plant_id, plant.latin_name
        rank = conflicts.strictness
        self._db.execute(
            "INSERT INTO plants VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                document,
                identifier,
                where,
                name,
                json.dumps(about),
                len(plant.images),
                json.dumps(plant.rejected, sort_keys=True),
            ),
        )
        self._candidates += len(plant.images)
        self._db.executemany(
            "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?)",
            [
                (i[0], document, rank(i.licence), identifier, name, orjson.dumps(i[1:]))
                for i in plant.images
            ],
        )
        self._deny(plant.denied)

    def add_unfit(self, plant_id: str, where: str, unfit: Unfit) -> None:
        rejected = json.dumps(unfit.rejected, sort_keys=True)
        row = (plant_id, where, unfit.reason, unfit.detail, rejected)
        self._db.execute("INSERT INTO unfit VALUES (?, ?, ?, ?, ?)", row)
        self._deny(unfit.denied)

    def _deny(self, image_ids: Iterable[str]) -> None:
        self._db.executemany(
            "INSERT INTO denied VALUES (?)", [(image_id,) for image_id in image_ids]
        )

    def settle(self, min_images: int, hold_out: HoldOut = NOTHING) -> LabelMap:
        """Drops classes with fewer photos; numbers the others by their names.

        Those that are held out get no number.
        """
        self._licence_conflicts = conflicts.leave_out_denied(self._db)
        self._candidates -= self._licence_conflicts
        self._db.execute(_PUT_PHOTOS)
        if self._candidates > self._one("SELECT COUNT(*) FROM photos"):
            self._several_names = conflicts.note_names(self._db)
        self._db.execute("DROP TABLE candidates")
        self._db.execute(
            "CREATE TABLE classes AS SELECT latin_name, COUNT(*) AS photos FROM photos "
            "GROUP BY latin_name HAVING COUNT(*) >= ? ORDER BY latin_name",
            (max(1, min_images),),
        )
        self._hold_out(hold_out)
        self._db.execute("CREATE UNIQUE INDEX class_of ON classes (latin_name)")
        self._db.execute("CREATE INDEX plants_of ON plants (latin_name, plant_id)")
        found = self._names("SELECT latin_name FROM classes ORDER BY latin_name")
        return LabelMap(tuple(self._taxon(i, name) for i, name in enumerate(found)))

    def _hold_out(self, hold_out: HoldOut) -> None:
        """Moves species to where no number is given, from the classes or below them."""
        classes = self._names("SELECT latin_name FROM classes")
        drawn = [name for name in classes if name in hold_out]
        self._db.executemany(
            "DELETE FROM classes WHERE latin_name = ?", [(name,) for name in drawn]
        )
        others = set(self._names("SELECT DISTINCT latin_name FROM photos"))
        kept = self._names("SELECT latin_name FROM classes")
        rare = hold_out.of_rare(sorted(others.difference(classes)), kept)
        self._db.executemany(
            "INSERT INTO held_out VALUES (?)", [(name,) for name in (*drawn, *rare)]
        )

    def held_out_species(self) -> list[str]:
        """Their names, after `settle`."""
        return self._names("SELECT * FROM held_out")

    def counts(self) -> Counts:
        """After `settle`."""
        exported = self._one(
            "SELECT COUNT(*) FROM plants WHERE latin_name IN "
            "(SELECT latin_name FROM classes UNION ALL SELECT latin_name FROM held_out)"
        )
        unfit = self._one("SELECT COUNT(*) FROM unfit")
        fit = self._one("SELECT COUNT(*) FROM plants")
        distinct = self._one("SELECT COUNT(*) FROM photos")
        photos = self._one("SELECT IFNULL(SUM(photos), 0) FROM classes")
        held_out = self._one(
            "SELECT COUNT(*) FROM photos WHERE latin_name IN "
            "(SELECT latin_name FROM held_out)"
        )
        return Counts(
            exported=exported,
            quarantined=unfit + fit - exported,
            photos=photos,
            held_out_photos=held_out,
            held_out_species=len(self.held_out_species()),
            duplicate_urls=self._candidates - distinct,
            urls_with_several_names=self._several_names,
            licence_conflicts=self._licence_conflicts,
            in_rare_classes=distinct - photos - held_out,
        )

    def photos(self, label_map: LabelMap) -> Iterator[dict[str, Any]]:
        """The photos of the label map's classes, by `image_id`, as rows of a file.

        Rows and not `records.Photo`, of which making 741,533 takes seconds.
        """
        yield from self._rows({taxon.latin_name: taxon for taxon in label_map.taxa})

    def held_out_photos(self) -> Iterator[dict[str, Any]]:
        """The photos of the species that were held out, alike; their class is -1."""
        names_held_out = self.held_out_species()
        yield from self._rows({n: self._taxon(NO_CLASS, n) for n in names_held_out})

    def _rows(self, taxa: dict[str, Taxon]) -> Iterator[dict[str, Any]]:
        rows = self._db.execute(
            "SELECT image_id, plant_id, latin_name, fields FROM photos "
            "ORDER BY image_id"
        )
        for image_id, plant_id, latin_name, fields in rows:
            if (taxon := taxa.get(latin_name)) is None:
                continue
            image = Candidate(image_id, *orjson.loads(fields))
            yield {
                "image_id": image_id,
                "plant_id": plant_id,
                "latin_name": latin_name,
                "class_id": taxon.class_id,
                "url": image.url,
                "source": image.source,
                "licence": image.licence,
                "licence_raw": image.licence_raw,
                "attribution": image.attribution,
                "countries": taxon.countries,
                "regions": taxon.regions,
                "observation": image.observation,
                "width": image.width,
                "height": image.height,
                **_UNKNOWN_YET,
            }

    def quarantine(self) -> Iterator[dict[str, Any]]:
        """A line for each document that is left out or lost images or shares some.

        Shared, that is, with a document of another name.
        """
        rows = self._db.execute(
            "SELECT plant_id, place, reason, detail, rejected, 0 FROM unfit UNION ALL "
            "SELECT plant_id, place, CASE WHEN latin_name IN "
            "(SELECT latin_name FROM classes UNION ALL SELECT latin_name FROM "
            "held_out) THEN '' ELSE 'rare_class' END AS reason, "
            "latin_name, rejected, IFNULL(several_names.images, 0) AS shared "
            "FROM plants LEFT JOIN several_names USING (document) "
            "WHERE reason != '' OR rejected != '{}' OR shared > 0 "
            "ORDER BY plant_id, place"
        )
        for plant_id, place, reason, detail, rejected, shared in rows:
            yield {
                "_id": plant_id,
                "where": place,
                "quarantined": bool(reason),
                "reason": reason or "some_images",
                "detail": detail,
                "rejected_images": json.loads(rejected),
                "images_of_several_names": shared,
            }

    def close(self) -> None:
        # The directory counts for the whole process.
        self._db.execute("PRAGMA temp_store_directory = ''")
        self._db.close()

    def _taxon(self, class_id: int, latin_name: str) -> Taxon:
        rows = self._db.execute(
            "SELECT about FROM plants WHERE latin_name = ? ORDER BY plant_id, about",
            (latin_name,),
        )
        abouts = [json.loads(about) for (about,) in rows]
        first = [next((about[i] for about in abouts if about[i]), "") for i in range(3)]
        countries = tuple(sorted({code for about in abouts for code in about[3]}))
        return Taxon(
            class_id=class_id,
            latin_name=latin_name,
            common_name=first[0],
            common_name_en=first[1],
            genus=names.genus_of(latin_name),
            family=first[2],
            countries=countries,
            regions=regions.regions_of(countries),
        )

    def _names(self, query: str) -> list[str]:
        return [name for (name,) in self._db.execute(query)]

    def _one(self, query: str) -> int:
        return self._db.execute(query).fetchone()[0]
