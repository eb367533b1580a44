import math

from aplantida_jax.data.lanes import Errand, Lane, Lanes
from aplantida_jax.data.schedule import Pace

PACE = Pace(per_second=10.0, concurrency=2, pauses_s=(60.0,), max_retry_after_s=60.0)


def test_what_is_asked_again_comes_first_but_not_too_early():
    lane = Lane("a", PACE, ["x", "y"])
    lane.put_back(Errand("late"), 5.0)
    lane.put_back(Errand("early"), 3.0)
    assert (len(lane), lane.backlog) == (4, 2)
    taken = [lane.take(now, fresh=True) for now in (4.0, 4.0, 6.0)]
    assert [errand.item for errand in taken] == ["early", "x", "late"]
    assert lane.take(9.0, fresh=False) is None
    assert lane.take(9.0, fresh=True).item == "y"


def test_when_the_next_is_due():
    lane = Lane("a", PACE, ["x"])
    assert lane.due(1.0, fresh=True) == 1.0
    assert lane.due(1.0, fresh=False) == math.inf
    lane.put_back(Errand("again"), 7.0)
    assert lane.due(1.0, fresh=False) == 7.0
    lane.host.inherit(1.0, 20.0, 0)
    assert lane.due(1.0, fresh=True) == 21.0


def test_a_lane_is_free_or_held_while_it_has_work():
    lanes = Lanes({"a": ["x"], "b": ["y", "z"], "c": []}, PACE)
    assert [lane.name for lane in lanes.wanted()] == ["b", "a"]
    b = lanes.by_name["b"]
    lanes.hold(b)
    assert (set(lanes.free), set(lanes.held)) == ({"a"}, {"b"})
    lanes.let_go(b)
    assert set(lanes.free) == {"a", "b"}
    assert sorted(lanes.drain()) == ["x", "y", "z"]
    assert not lanes.has_work()


def test_hosts_that_redirects_lead_to_come_first_and_hold_their_sources_up():
    lanes = Lanes({"a": ["x", "y"]}, PACE)
    a = lanes.by_name["a"]
    lanes.hold(a)
    assert lanes.may_take_fresh(a)
    target = lanes.send("b", Errand("x"), 0.0)
    a.leads_to.add("b")
    # Somebody has to ask b before more of a would help.
    assert lanes.is_blocked(a)
    assert [lane.name for lane in lanes.wanted()] == ["b"]
    lanes.hold(target)
    assert lanes.may_take_fresh(a)
    lanes.send("b", Errand("y"), 0.0)
    assert not lanes.may_take_fresh(a)
    assert not lanes.is_blocked(a)
