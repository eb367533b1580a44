import pytest

from aplantida_jax.reporting.criterion import Criterion, at, in_unit


@pytest.mark.parametrize(
    ("relation", "measured", "met"),
    [
        (">=", 0.7, True),
        (">=", 0.69, False),
        (">", 0.7, False),
        ("<=", 0.7, True),
        ("<", 0.7, False),
        ("<", 0.69, True),
    ],
)
def test_met(relation, measured, met):
    row = Criterion(1, "x", "share", measured, relation, 0.7)
    assert row.met is met
    assert row.verdict == ("met" if met else "not met")


def test_an_interval_may_leave_the_verdict_open():
    def certain(interval):
        return Criterion(1, "x", "share", 0.72, ">=", 0.7, interval).certain

    assert certain([0.71, 0.74]) is True
    assert certain([0.69, 0.75]) is False
    assert certain(None) is None


def test_what_is_not_measured_or_has_no_target_is_not_judged():
    assert Criterion(1, "x", "share", None, ">=", 0.7).verdict == "not measured"
    assert Criterion(1, "x", "share", 0.5).verdict == ""
    assert Criterion(1, "x", "share", 0.5).met is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.7312, "share", "73.1 %"),
        (0.063, "points", "+6.3 points"),
        (-0.01, "points", "\N{MINUS SIGN}1.0 points"),
        (12345, "count", "12,345"),
        (0.523, "MB", "0.52 MB"),
        (26.41, "MB", "26.4 MB"),
        (9.14, "ms", "9.1 ms"),
        (5000, "ms", "5,000 ms"),
        (0.0804, "number", "0.0804"),
        (0.00041, "error", "0.00041"),
        (9.13e-8, "error", "9.1 × 10⁻⁸"),
    ],
)
def test_units(value, unit, text):
    assert in_unit(value, unit) == text


def test_target_and_json():
    row = Criterion(1, "x", "share", 0.72, ">=", 0.7, [0.69, 0.75], "why")
    assert row.target_text() == "≥ 70 %"
    assert row.interval_text() == "69.0 % to 75.0 %"
    found = row.to_json()
    assert found["verdict"] == "met"
    assert found["certain"] is False
    assert found["measured"] == 0.72


def test_at_stops_at_what_is_missing():
    assert at({"a": {"b": 1}}, "a", "b") == 1
    assert at({"a": None}, "a", "b") is None
    assert at(None, "a") is None
    with pytest.raises(KeyError):
        at({"a": 1}, "b")
