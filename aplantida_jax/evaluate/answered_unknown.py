"""What a model said of pictures that it cannot know, and how often; pure.

Of an unknown picture every answer with a species is wrong. The genus may be right, when
it is that of a held-out species and the model has it; all else should end as "no
concluyente". Shares are 0 to 1. Intervals are 95 % ones by group, since what was drawn
are species, and kinds of pictures without a plant: those of one are answered alike, and
another species may be answered otherwise. Of a single one there is no interval.
"""

import collections
import dataclasses
from collections.abc import Container, Sequence
from typing import Any

import numpy as np

from aplantida_jax.evaluate import calibration, detection, intervals
from aplantida_jax.evaluate.answers import Answers
from aplantida_jax.evaluate.intervals import Groups
from aplantida_jax.evaluate.unknown_images import Unknown

HELD_OUT = "held_out"
_MOST_SPECIES = 200  # rows of the table by species


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """What was said of the pictures of one kind, [n] each.

    Attributes:
        species: bool, a species is answered.
        genus: bool, a genus is answered.
        top_class: int, the most probable class.
        top_genus: int, the most probable genus.
        confidence: of the answer: that of the genus where one is answered.
        scores: see `detection.scores_of`.
    """

    species: np.ndarray
    genus: np.ndarray
    top_class: np.ndarray
    top_genus: np.ndarray
    confidence: np.ndarray
    scores: dict[str, np.ndarray]

    @classmethod
    def of(
        cls,
        answers: Answers,
        logits: np.ndarray,
        thresholds: dict[str, float | None],
        class_mask: np.ndarray | None,
    ) -> "Said":
        """From the answers, and the logits before the temperature.

        `thresholds` are the options of `calibration.decide`.
        """
        species, genus = calibration.decide(answers, **thresholds)
        return cls(
            species,
            genus,
            answers.top_class[:, 0],
            answers.top_genus,
            np.where(genus, answers.genus_probability, answers.confidence),
            detection.scores_of(logits, answers.confidence, class_mask),
        )

    def at(self, index: np.ndarray) -> "Said":
        """Of some of the pictures: bool [n] or positions."""
        return Said(
            self.species[index],
            self.genus[index],
            self.top_class[index],
            self.top_genus[index],
            self.confidence[index],
            {name: values[index] for name, values in self.scores.items()},
        )

    @classmethod
    def together(cls, parts: Sequence["Said"]) -> "Said":
        """Of the pictures of all parts, one after another."""

        def joined(field: str) -> np.ndarray:
            return np.concatenate([getattr(part, field) for part in parts])

        return cls(
            *(joined("species"), joined("genus")),
            *(joined("top_class"), joined("top_genus"), joined("confidence")),
            {n: np.concatenate([p.scores[n] for p in parts]) for n in detection.SCORES},
        )


def shares(said: Said, groups: Groups) -> dict[str, Any]:
    """How often a species, a genus and nothing was answered."""

    def share(answered: np.ndarray) -> dict[str, Any]:
        n = len(answered)
        alone = groups.count < 2
        return {
            "count": int(answered.sum()),
            "share": float(answered.mean()) if n else None,
            "interval": (
                None if alone else intervals.wilson_by_group(answered, groups.of_image)
            ),
        }

    return {
        "images": len(said.species),
        "species": share(said.species),
        "genus": share(said.genus),
        "not_conclusive": share(~said.species & ~said.genus),
    }


def of_kind(
    unknown: Unknown,
    said: Said,
    known: Said,
    known_groups: Groups,
    *,
    genus_names: Sequence[str],
) -> dict[str, Any]:
    """The row of one kind, or of several together.

    Args:
        unknown: the pictures.
        said: of them.
        known: what was said of test, that the scores are to be told from.
        known_groups: which photos of test belong together.
        genus_names: of the label map's genera, by their index.
    """
    right = genus_is(unknown, said, genus_names)
    groups = unknown.groups
    row = shares(said, groups)
    row["genus"] |= {
        "right": int((said.genus & right).sum()),
        "wrong": int((said.genus & ~right).sum()),
    }
    return {
        **row,
        "sampled": {"what": unknown.sampled, "groups": groups.count},
        # The answer is wrong, but a relative's: a lesser mistake.
        "species_of_the_right_genus": int((said.species & right).sum()),
        "left_out": dict(unknown.left_out),
        "scores": detection.separate(known.scores, said.scores, known_groups, groups),
    }


def genus_is(unknown: Unknown, said: Said, genus_names: Sequence[str]) -> np.ndarray:
    """bool [n]: the most probable genus is the picture's."""
    named = [genus_names[genus] for genus in said.top_genus.tolist()]
    return np.array([a == b for a, b in zip(named, unknown.genus, strict=True)], bool)


def by_genus_known(
    unknown: Unknown, said: Said, genera: Container[str]
) -> dict[str, tuple[Unknown, Said]]:
    """The held-out photos in two kinds: of `genera` that can be answered, and others.

    A kind without photos is left out.
    """
    has = np.array([genus in genera for genus in unknown.genus], bool)
    kinds = {"held_out_known_genus": has, "held_out_new_genus": ~has}
    return {
        kind: (_some(unknown, kind, np.flatnonzero(index)), said.at(index))
        for kind, index in kinds.items()
        if index.any()
    }


def _some(unknown: Unknown, kind: str, index: np.ndarray) -> Unknown:
    kept = index.tolist()
    return Unknown(
        kind,
        [unknown.image_id[i] for i in kept],
        [unknown.name[i] for i in kept],
        [unknown.genus[i] for i in kept],
        group=[unknown.group[i] for i in kept],
        sampled=unknown.sampled,
    )


def by_species(
    unknown: Unknown,
    said: Said,
    names: Sequence[str],
    genus_names: Sequence[str],
    *,
    genera: Container[str],
) -> list[dict[str, Any]]:
    """A row for each held-out species, that answered as another most often first.

    `genera` can be answered; `names` and `genus_names` are the label map's, by index.
    """
    right = genus_is(unknown, said, genus_names)
    of = np.array(unknown.name)
    rows: list[dict[str, Any]] = []
    for name in sorted(set(unknown.name)):
        own = of == name
        as_species = said.top_class[own & said.species].tolist()
        taken_for = collections.Counter(names[c] for c in as_species).most_common(3)
        rows.append(
            {
                "latin_name": name,
                "genus_known": unknown.genus[int(np.argmax(own))] in genera,
                "images": int(own.sum()),
                "species": len(as_species),
                "genus_right": int((own & said.genus & right).sum()),
                "genus_wrong": int((own & said.genus & ~right).sum()),
                "taken_for": dict(taken_for),
            }
        )
    rows.sort(key=lambda row: (-row["species"] / row["images"], row["latin_name"]))
    return rows[:_MOST_SPECIES]


def wrong_answers(
    asked: Sequence[tuple[Unknown, Said]],
    names: Sequence[str],
    genus_names: Sequence[str],
    *,
    limit: int,
) -> list[dict[str, Any]]:
    """The most certain wrong answers, of every kind in turn, so that all are seen.

    Rows {kind, image_id, name, said, rank, confidence}; `rank` is species or genus.
    """
    queues = []
    for unknown, said in asked:
        wrong = said.species | (said.genus & ~genus_is(unknown, said, genus_names))
        order = np.argsort(-said.confidence, kind="stable")
        queues.append([(unknown, said, i) for i in order[wrong[order]].tolist()])
    rows = []
    for turn in range(limit):
        for unknown, said, i in (queue[turn] for queue in queues if turn < len(queue)):
            is_species = bool(said.species[i])
            rows.append(
                {
                    "kind": unknown.kind,
                    "image_id": unknown.image_id[i],
                    "name": unknown.name[i],
                    "said": (
                        names[said.top_class[i]]
                        if is_species
                        else genus_names[said.top_genus[i]]
                    ),
                    "rank": "species" if is_species else "genus",
                    "confidence": float(said.confidence[i]),
                }
            )
    return sorted(rows[:limit], key=lambda row: -row["confidence"])
