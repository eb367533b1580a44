"""Tables of what comparisons trained: every way beside the one it is compared with."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comparison_runs import Place, Way

from aplantida_jax import files, paths
from aplantida_jax.evaluate import significance


def finished(
    place: Place, ways: Mapping[str, Sequence[str]]
) -> dict[str, Sequence[str]]:
    """The ways, with their runs, whose runs are all trained and evaluated.

    Raises:
        SystemExit: they are fewer than the two that a comparison needs.
    """
    done = {
        way: runs
        for way, runs in ways.items()
        if all(
            (paths.evaluation_dir(place.runs_dir / run, "test") / name).exists()
            for run in runs
            for name in ("metrics.json", "manifest.json")
        )
    }
    if len(done) < 2:
        raise SystemExit(
            f"nothing to compare in {place.runs_dir} yet: of {len(ways)} ways "
            f"{len(done)} are finished; start this without --table"
        )
    return done


def compared(place: Place, ways: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """comparison.json of stage compare (see evaluate/compare.py), every pair of ways.

    Args:
        place: of the runs.
        ways: way of training -> its runs, one a seed.
    """
    groups = tuple("+".join(runs) for runs in ways.values())
    place.stage("student_labels", "compare", (f"compare.runs={groups!r}",))
    path = place.runs_dir / "compare" / "test" / "comparison.json"
    return json.loads(path.read_text(encoding="utf-8"))


def own_pairs(
    ways: Iterable[Way], done: Mapping[str, Sequence[str]], found: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Way -> its pair with its reference, where both are finished.

    `p_holm` is corrected (Holm) for the family of exactly these pairs: the others of a
    comparison are not of interest, and would only cost power.

    Args:
        ways: all.
        done: of `finished`.
        found: of `compared`.
    """
    by_sides = {(pair["reference"], pair["run"]): pair for pair in found["pairs"]}
    pairs = {
        way.name: by_sides["+".join(done[way.reference]), "+".join(done[way.name])]
        for way in ways
        if way.name in done and way.reference in done
    }
    corrected = significance.holm([pair["p"] for pair in pairs.values()])
    return {
        name: {**pair, "p_holm": p}
        for (name, pair), p in zip(pairs.items(), corrected, strict=True)
    }


def rows_of(
    place: Place,
    ways: Sequence[Way],
    done: Mapping[str, Sequence[str]],
    found: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """What a table says of the finished ways: means over runs, and how each differs.

    Differences are to the way's own reference, with intervals; `p` is of top-1, as
    `own_pairs` corrects it. All null without a finished reference.
    """
    pairs = own_pairs(ways, done, found)
    return [
        _row(place, way, done[way.name], found, pairs.get(way.name, {}))
        for way in ways
        if way.name in done
    ]


def _row(
    place: Place,
    way: Way,
    runs: Sequence[str],
    found: Mapping[str, Any],
    pair: Mapping[str, Any],
) -> dict[str, Any]:
    measured = next(run for run in found["runs"] if run["name"] == "+".join(runs))
    evaluations = [place.evaluation(run) for run in runs]
    paces = [place.minutes(run) for run in runs]
    known = [pace for pace in paces if pace is not None]
    return {
        "way": way.name,
        "runs": list(runs),
        "reference": way.reference,
        "top1_accuracy": measured["top1_accuracy"],
        "macro_recall": measured["macro_recall"],
        "intervals": measured["intervals"],
        "ece": mean([evaluation["ece"] for evaluation in evaluations]),
        "megabytes": 2e-6 * place.parameters(runs[0]),
        "minutes": statistics.median(known) if known else None,
        "differences": pair.get("differences"),
        "p": pair.get("p_holm"),
        "bands": _bands(evaluations),
        "band_differences": pair.get("bands"),
    }


def _bands(evaluations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Recall over the classes of each band, mean over runs, with its images."""
    found = {}
    for band in evaluations[0]["bands"]:
        rows = [evaluation["bands"][band] for evaluation in evaluations]
        found[band] = {
            "images": rows[0]["images"],
            "classes": rows[0]["classes"],
            "macro_recall": mean([row["macro_recall"] for row in rows]),
            "top1_accuracy": mean([row["top1_accuracy"] for row in rows]),
        }
    return found


def mean(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None when there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def share(value: float | None, interval: Sequence[float] | None) -> str:
    """E.g. "71.2 (66.0 to 76.1)", per cent; an interval is cut at 0 and 100."""
    if value is None:
        return "—"
    cut = interval and [min(1.0, max(0.0, end)) for end in interval]
    return _spelt(value, cut, sign="")


def gap(differences: Mapping[str, Any] | None, metric: str) -> str:
    """E.g. "+3.1 (-0.4 to +6.6)", points; "" where there is no difference to tell."""
    found = (differences or {}).get(metric)
    if found is None or found["difference"] is None:
        return ""
    return _spelt(found["difference"], found["interval"], sign="+")


def _spelt(value: float, interval: Sequence[float] | None, *, sign: str) -> str:
    text = f"{100 * value:{sign}.1f}"
    if interval is None:
        return text
    low, high = (f"{100 * end:{sign}.1f}" for end in interval)
    return f"{text} ({low} to {high})"


def save(place: Place, rows: Sequence[dict[str, Any]], **more: Any) -> Path:
    """Writes the table as JSON beside the runs."""
    path = place.runs_dir / "table.json"
    files.write_json(path, {"data": place.data, **more, "rows": list(rows)})
    return path
