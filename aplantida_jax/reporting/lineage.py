"""What a model was made from, as a tree: photos and weights -> teachers -> student.

A model's provenance is a flat list of its ancestors; who descends from whom is what
the manifests' inputs say.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aplantida_jax import paths
from aplantida_jax.reporting.stage_records import StageRecord

_TRAIN_SPLIT = re.compile(r"dataset_(\w+_)?train\.jsonl")


@dataclasses.dataclass(frozen=True)
class Ancestor:
    """A node of the tree.

    Attributes:
        kind: "student", "teacher", "run", "soft labels", "photos" or "weights".
        name: of the run, store or file.
        licences: of photos and weights; ours have those of their ancestors.
        ancestors: what it was made from; empty where that was told before (`again`).
        again: it stands further up, with its ancestors.
    """

    kind: str
    name: str
    licences: tuple[str, ...] = ()
    ancestors: tuple["Ancestor", ...] = ()
    again: bool = False


class _Builder:
    """Follows inputs from manifest to manifest."""

    def __init__(
        self, records: Sequence[StageRecord], provenance: Sequence[Mapping[str, Any]]
    ):
        self._records = {
            record.where: record
            for record in records
            if record.stage in ("train", "predict", "combine")
        }
        self._licences = {
            (row["kind"], row["name"]): tuple(row["licences"]) for row in provenance
        }
        self._told: set[Path] = set()

    def node(self, where: Path, kind: str, name: str) -> Ancestor:
        """The node of a run or store whose manifest lies in `where`."""
        record = self._records.get(where)
        licences = self._licences.get(("teacher", name), ())  # only foreign ones have
        if record is None or where in self._told:
            return Ancestor(kind, name, licences, again=where in self._told)
        self._told.add(where)
        found = [self._input(Path(path)) for path in record.content["inputs"]]
        # What the tree goes on with comes last, so that it reads downwards.
        known = [a for a in found if a is not None]
        known.sort(key=lambda ancestor: bool(ancestor.ancestors))
        return Ancestor(kind, name, licences, tuple(known))

    def _store(self, where: Path) -> Ancestor:
        """A store of soft labels; that of one of our teachers is the teacher itself."""
        record = self._records.get(where)
        name = where.parent.name
        if record is not None and record.stage == "predict":
            for path in map(Path, record.content["inputs"]):
                if path.name == paths.best(path.parent).name:
                    return self.node(path.parent, "teacher", path.parent.name)
            return self.node(where, "teacher", name)
        return self.node(where, "soft labels", name)

    def _input(self, path: Path) -> Ancestor | None:
        """What an input of a stage stands for; None where it leaves no trace."""
        if path.name == "store.json":
            return self._store(path.parent)
        if path.name == paths.best(path.parent).name:
            name = path.parent.name
            kind = "teacher" if name.startswith("teacher") else "run"
            return self.node(path.parent, kind, name)
        if _TRAIN_SPLIT.fullmatch(path.name):
            licences = self._licences.get(("data", path.name), ())
            return Ancestor("photos", path.name, licences)
        weights = self._licences.get(("weights", path.name))
        return None if weights is None else Ancestor("weights", path.name, weights)


def tree(
    workdir: Path,
    name: str,
    records: Sequence[StageRecord],
    provenance: Sequence[Mapping[str, Any]],
) -> Ancestor:
    """The tree under the run `name`.

    Ancestors that its provenance names and no manifest leads to (a run from elsewhere,
    a training that goes on) hang from the root.

    Args:
        workdir: of the run.
        name: of the run.
        records: of all stages.
        provenance: of the run's best checkpoint.
    """
    root = _Builder(records, provenance).node(workdir, "student", name)
    known = {(node.kind, node.name) for node in nodes(root)}
    names = {node_name for _, node_name in known}
    rest = [
        Ancestor(_KINDS[row["kind"]], row["name"], tuple(row["licences"]))
        for row in provenance
        if row["name"] not in names
    ]
    return dataclasses.replace(root, ancestors=(*root.ancestors, *rest))


_KINDS = {"data": "photos", "weights": "weights", "teacher": "teacher"}


def nodes(root: Ancestor) -> list[Ancestor]:
    """The tree's nodes, from the root down."""
    return [root, *(node for child in root.ancestors for node in nodes(child))]
