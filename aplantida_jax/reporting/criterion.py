"""One success criterion: what is measured, its target, and how sure that is."""

import dataclasses
from collections.abc import Callable
from typing import Any

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">=": lambda measured, target: measured >= target,
    ">": lambda measured, target: measured > target,
    "<=": lambda measured, target: measured <= target,
    "<": lambda measured, target: measured < target,
}

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Criterion:
    """One row of the table.

    Attributes:
        phase: of the plan, 0 to 7.
        name: what is measured.
        unit: "share" (0..1), "points" (a difference of shares), "count", "MB", "ms",
            "number" (four decimals) or "error" (two significant digits, small ones as
            "9.1 × 10⁻⁸").
        measured: None when the stage has not run.
        relation, target: e.g. ">=" 0.7; target None for a row that only informs.
        interval: [low, high] of measured at 95 %, if known.
        note: what it is about, or why it is not known.
        significant: of a test with the target as its null hypothesis, where there is
            one that is corrected for all that are done: it settles the verdict then.
    """

    phase: int
    name: str
    unit: str
    measured: float | None
    relation: str = ""
    target: float | None = None
    interval: list[float] | None = None
    note: str = ""
    significant: bool | None = None

    @property
    def met(self) -> bool | None:
        """Does the measured value reach the target? None when there is no judging."""
        if self.target is None or self.measured is None:
            return None
        return _COMPARE[self.relation](self.measured, self.target)

    @property
    def certain(self) -> bool | None:
        """Is the verdict settled, by its test or else the whole interval?

        None when there is neither.
        """
        if self.met is not None and self.significant is not None:
            return self.significant
        if self.met is None or self.interval is None or self.target is None:
            return None
        compare = _COMPARE[self.relation]
        return all(compare(end, self.target) == self.met for end in self.interval)

    @property
    def verdict(self) -> str:
        """ "met", "not met", "not measured", or "" for a row that only informs."""
        if self.measured is None:
            return "not measured"
        return {True: "met", False: "not met", None: ""}[self.met]

    def measured_text(self) -> str:
        return "—" if self.measured is None else in_unit(self.measured, self.unit)

    def target_text(self) -> str:
        if self.target is None:
            return ""
        sign = {">=": "≥", "<=": "≤"}.get(self.relation, self.relation)
        if self.unit in ("share", "points"):
            unit = "%" if self.unit == "share" else "points"
            return f"{sign} {100 * self.target:g} {unit}"
        if self.unit == "number":
            return f"{sign} {self.target:g}"
        if self.unit == "MB":
            return f"{sign} {self.target:g} MB"
        return f"{sign} {in_unit(self.target, self.unit)}"

    def interval_text(self) -> str:
        if self.interval is None:
            return ""
        low, high = (in_unit(end, self.unit) for end in self.interval)
        return f"{low.removesuffix(' points')} to {high}"

    def to_json(self) -> dict[str, Any]:
        row = dataclasses.asdict(self)
        return {**row, "verdict": self.verdict, "certain": self.certain}


def in_unit(value: float, unit: str) -> str:
    """E.g. (0.7312, "share") -> "73.1 %"."""
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "points":
        return f"{100 * value:+.1f} points".replace("-", "\N{MINUS SIGN}")
    if unit == "count":
        return f"{value:,.0f}"
    if unit == "MB":
        return f"{value:.1f} MB" if value >= 10 else f"{value:.2f} MB"
    if unit == "ms":
        return f"{value:,.1f} ms" if value < 100 else f"{value:,.0f} ms"
    if unit == "error":
        digits, _, power = f"{value:.2g}".partition("e")
        return f"{digits} × 10{str(int(power)).translate(_RAISED)}" if power else digits
    return f"{value:.4f}"


def at(source: Any, *keys: Any) -> Any:
    """source[key][key]..., or None when the source or a value on the way is None.

    A key that is absent is an error: files that are there have all their fields.
    """
    for key in keys:
        if source is None:
            return None
        source = source[key]
    return source
