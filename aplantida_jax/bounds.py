"""Intervals that numbers of the configuration must lie in, and how they are said."""

import dataclasses
import math
import numbers
from typing import Any


@dataclasses.dataclass(frozen=True)
class Bounds:
    """Of a number, both ends included; `off` is a value below them that is allowed."""

    least: float
    most: float
    off: float | None = None

    def allow(self, value: Any) -> bool:
        """Is it a finite number within the bounds?"""
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            return False
        is_off = self.off is not None and value == self.off
        return is_off or (math.isfinite(value) and self.least <= value <= self.most)

    def __str__(self) -> str:
        off = "" if self.off is None else f"{self.off:g}, or "
        return f"{off}from {self.least:.10g} to {self.most:.10g}"


@dataclasses.dataclass(frozen=True)
class Several:
    """Of a fixed number of numbers, each within the same bounds.

    Attributes:
        count: how many.
        each: the bounds of every one.
        rising: none may be below the one before it, as in (low, high).
    """

    count: int
    each: Bounds
    rising: bool = False

    def allow(self, value: Any) -> bool:
        """Is it a sequence of so many numbers within the bounds?"""
        if not isinstance(value, tuple | list) or len(value) != self.count:
            return False
        in_order = not self.rising or list(value) == sorted(value)
        return all(map(self.each.allow, value)) and in_order

    def __str__(self) -> str:
        order = ", the lower first" if self.rising else ""
        return f"{self.count} numbers, each {self.each}{order}"
