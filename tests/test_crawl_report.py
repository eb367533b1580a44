import pytest

from aplantida_jax.data.crawl import Crawl
from aplantida_jax.data.crawl_report import CrawlReport, _duration
from aplantida_jax.data.host_claims import Claims
from aplantida_jax.data.lanes import Lanes
from aplantida_jax.data.schedule import Pace

PACE = Pace(per_second=10.0, concurrency=2, pauses_s=(60.0,), max_retry_after_s=600.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def crawl(clock):
    made = Crawl(
        lambda item, trail: None,
        PACE,
        retries=0,
        abort=lambda: None,
        claims=Claims(None),
        clock=clock,
    )
    made.lanes = Lanes({"a": range(100), "b": range(300)}, PACE)
    return made


def report_of(crawl, clock) -> CrawlReport:
    return CrawlReport(crawl, what="download", total=400, per_second=10.0, clock=clock)


def test_before_anything_is_measured_the_pace_tells(crawl, clock):
    assert report_of(crawl, clock).seconds_left() == 30.0


def test_the_slowest_host_decides(crawl, clock):
    report = report_of(crawl, clock)
    clock.now = 20.0
    for _ in range(20):
        report.count("a", "ok")
        crawl.lanes.by_name["a"].waiting.popleft()
    for _ in range(200):
        report.count("b", "ok")
        crawl.lanes.by_name["b"].waiting.popleft()
    # a: 80 left at 1/s; b: 100 left at 10/s.
    assert report.seconds_left() == 80.0
    assert report.line() == "download: 220/400 images, 11.0/s, about 80 s left"


def test_a_pause_is_no_work_and_its_rest_is_to_come(crawl, clock):
    report = report_of(crawl, clock)
    lane = crawl.lanes.by_name["b"]
    crawl.lanes.hold(lane)
    for _ in range(100):
        report.count("b", "ok")
        lane.waiting.popleft()
    lane.host.throttled(lane.host.start(10.0), 10.0, None)
    clock.now = 40.0
    # 100 in the 10 s before the pause: 200 take 20 s more, after 30 s of pause.
    assert report.seconds_left() == 50.0
    assert report.line().endswith("about 50 s left (paused: b 30 s)")
    hosts = report.by_host()
    assert hosts["b"]["paused_s"] == 30.0
    assert hosts["b"]["results"] == {"ok": 100}
    assert "a" not in hosts


def test_results_pass_unchanged_and_lines_appear(crawl, clock, caplog):
    report = report_of(crawl, clock)

    def results():
        for number in range(5):
            clock.now += 6.0
            yield number

    with caplog.at_level("INFO", logger="absl"):
        assert list(report.track(results())) == [0, 1, 2, 3, 4]
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations(seconds, text):
    assert _duration(seconds) == text
