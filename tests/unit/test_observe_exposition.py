"""The exposition, read back by Prometheus' own parser."""

from __future__ import annotations

import re

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.test_observe_readiness import budget, engine, report, worker

from reconciler_engine.cli.manual import PAGES
from reconciler_engine.observe.exposition import PREFIX, expose
from reconciler_engine.observe.live_candles import Sighting, sum_up
from reconciler_engine.observe.metrics import CATALOGUE
from reconciler_engine.observe.objective import BarCounts, Objective
from reconciler_engine.observe.obstacles import Obstacle
from reconciler_engine.observe.series_state import Verification
from reconciler_engine.observe.status import ProcessStatus, ScrubStatus

FIGURES = {
    "requests_total|candles|rate_limited|429": [3.0],
    "permit_wait_seconds": [1.0, 0, 2.0, *[0.0] * 10, 0.7],
    "requests_total|candles": [9.0],
    "no_such_total": [1.0],
}
BUDGET = budget()
SCRUB = ScrubStatus(days=30, began=5_000, pages=40, done=13, unknown=0, round_ms=90_000, oldest={"1m": 2_000})
FEEDER = sum_up({"A-USD:1m": Sighting(0, 0, 0)}, 1_000)
OBJECTIVE = Objective(0.99, 1, {"5m": {"1h": BarCounts(200, 3, 1, 7), "30d": BarCounts(1_000, 3, 2, 9)}})
VERIFIED = {"1m": Verification(300, 300, None, 0), "5m": Verification(300, 297, 1_500, 1)}


def full():
    processes = (
        ProcessStatus(role="supervisor", name="supervisor", pid=1, last_beat_ms=0),
        worker(last_beat_ms=900, restarts=2),
        worker(last_beat_ms=1_200, restarts=1),
        worker(pid=None, last_beat_ms=None),
    )
    whole = engine(
        budget=BUDGET,
        queued={"scan": 0, "live": 2, "deep": 7},
        unknown_symbols=("A-USD", "B-USD"),
        skew_ms=40,
        scrub=SCRUB,
    )
    return report(processes=processes, engine=whole, figures=FIGURES)


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def test_every_figure_has_its_place():
    found = samples(expose(full(), 0.5, {"ready": 14, "lacking": 2, "unknown": 0})[0])
    assert found["ready", ()] == 1
    assert found["requests_total", (("endpoint", "candles"), ("outcome", "rate_limited"), ("status", "429"))] == 3
    assert found["processes_up", (("role", "worker"),)] == 2
    assert found["processes", (("role", "worker"),)] == 3
    assert found["restarts_total", (("role", "worker"),)] == 3
    assert found["heartbeat_age_seconds", (("role", "worker"),)] == 1.2
    assert found["queue_tasks", (("lane", "deep"),)] == 7
    assert found["unknown_symbols", ()] == 2
    assert found["budget_waiting_requests", ()] == 1
    assert found["budget_wait_seconds", ()] == 0.2
    assert found["redis_silence_seconds", ()] == 0.9
    assert found["job_last_success_timestamp_seconds", (("job", "gap_scan"),)] == 991
    assert found["series", (("state", "lacking"),)] == 2
    assert [found["scrub_pages", (("state", state),)] for state in ("done", "left")] == [13, 27]
    assert found["scrub_round_seconds", ()] == 90
    assert found["scrub_round_start_timestamp_seconds", ()] == 5
    assert found["oldest_verification_timestamp_seconds", (("timeframe", "1m"),)] == 2
    # counters of a child of another version are left out
    assert not [key for key in found if key[0] == "no_such_total"]
    assert sum(value for key, value in found.items() if key[0] == "requests_total") == 3


def test_slots_that_are_not_ready_are_told_by_state_and_reason():
    found = samples(expose(full(), 0.5, {}, {**dict.fromkeys(Obstacle, 0), Obstacle.VALUES_DIFFER: 3})[0])
    reasons = {key: value for key, value in found.items() if key[0] == "unready_slots"}
    assert reasons["unready_slots", (("reason", "values_differ"), ("state", "suspect"))] == 3
    assert reasons["unready_slots", (("reason", "waiting_for_a_reference"), ("state", "missing"))] == 0
    assert len(reasons) == len(Obstacle)


def test_the_objective_is_told_with_its_bars_its_budget_and_its_burn():
    found = samples(expose(full(), 0.5, objective=OBJECTIVE)[0])
    hour = (("timeframe", "5m"), ("window", "1h"))
    outcomes = {
        name: found["slo_bars", (("outcome", name), *hour)] for name in ("met", "late", "unverified", "waiting")
    }
    assert outcomes == {"met": 196, "late": 3, "unverified": 1, "waiting": 7}
    assert found["slo_burn_rate", hour] == pytest.approx(2)
    assert found["slo_burn_rate", (("timeframe", "5m"), ("window", "24h"))] == 0
    assert found["slo_error_budget_left", (("timeframe", "5m"),)] == pytest.approx(0.5)
    assert found["slo_target", ()] == 0.99


def test_candles_are_told_by_whether_they_are_verified():
    found = samples(expose(full(), 0.5, {}, {}, VERIFIED)[0])
    candles = {key: value for key, value in found.items() if key[0] == "candles"}
    assert candles["candles", (("state", "unverified"), ("timeframe", "5m"))] == 3
    assert candles["candles", (("state", "verified"), ("timeframe", "1m"))] == 300
    since = {key: value for key, value in found.items() if key[0] == "unverified_since_timestamp_seconds"}
    assert since == {("unverified_since_timestamp_seconds", (("timeframe", "5m"),)): 1.5}


def test_the_feeder_is_told_by_the_age_of_its_newest_candle():
    seen = {
        "A-USD:1m": Sighting(60_000, 60_000, 61_000),
        "B-USD:5m": Sighting(900_000, 0, 2_000),
        "C-USD:5m": Sighting(),
    }
    found = samples(expose(full(), 0.5, feeder=sum_up(seen, 1_000_000))[0])
    assert found["feeder_age_seconds", ()] == 939
    assert found["live_candle_age_seconds", (("timeframe", "5m"),)] == 998
    states = {key[1][0][1]: value for key, value in found.items() if key[0] == "feeder_series"}
    assert states == {"live": 0, "silent": 1, "stopped": 1, "none_seen": 1}
    assert ("feeder_age_seconds", ()) not in samples(expose(full(), 0.5, feeder=sum_up({}, 0))[0])


def test_redis_is_not_up_before_it_took_anything():
    rising = report(stage="starting", engine=None, redis_silent_ms=None)
    assert [samples(expose(one, 0.5)[0])["redis_up", ()] for one in (full(), rising)] == [1, 0]


def test_a_histogram_is_cumulative_and_ends_in_its_count():
    found = samples(expose(full(), 0.5)[0])
    bounds = ["0.01", "0.1", "0.25", "0.5"]
    assert [found["permit_wait_seconds_bucket", (("le", bound),)] for bound in bounds] == [1, 1, 3, 3]
    assert found["permit_wait_seconds_bucket", (("le", "+Inf"),)] == found["permit_wait_seconds_count", ()] == 3
    assert found["permit_wait_seconds_sum", ()] == 0.7


def test_what_has_not_happened_is_zero_and_not_absent():
    found = samples(expose(report(), 0)[0])
    for metric in CATALOGUE:
        name = f"{metric.name}_count" if metric.buckets else metric.name
        assert sum(value for key, value in found.items() if key[0] == name) == 0
        assert [key for key in found if key[0] == name], metric.name


def test_without_a_report_it_says_so():
    found = samples(expose(None, 3.0)[0])
    assert found == {("ready", ()): 0, ("degraded", ()): 0, ("report_age_seconds", ()): 3.0}


def test_openmetrics_is_given_to_who_asks_for_it():
    text, content_type = expose(full(), 0.5, {"ready": 1}, accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert len(list(parse_openmetrics(text.decode()))) > 20


def test_labels_are_words_of_the_program():
    text, _ = expose(full(), 0.5, {"ready": 1}, dict.fromkeys(Obstacle, 0), VERIFIED)
    labels = {name for (_, pairs) in samples(text) for name, _ in pairs}
    words = {
        "job",
        "outcome",
        "endpoint",
        "status",
        "reason",
        "role",
        "lane",
        "state",
        "timeframe",
        "verdict",
        "version",
        "simulated",
    }
    assert labels == {*words, "le"}


@pytest.mark.parametrize("version", ["abc", '"1.0.0"', "\u00b2"])
def test_a_version_that_cannot_be_read_gets_what_everybody_understands(version):
    text, content_type = expose(full(), 0.5, accept=f"application/openmetrics-text; version={version}")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"reconciler_ready" in text


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_the_manuals_table_is_all_there_is(accept):
    kept = ({"ready": 1}, dict.fromkeys(Obstacle, 0), VERIFIED, FEEDER, OBJECTIVE)
    text, _ = expose(full(), 0.5, *kept, accept=accept)
    shown = set(re.findall(r"^# TYPE reconciler_(\w+) ", text.decode(), re.MULTILINE))
    section = PAGES["metrics"].read_text("utf-8").partition("\n## ")[0]
    listed = re.findall(r"`([a-z_]+)(?:\{[a-z,]*\})?`", section.partition("|---")[2])
    assert sorted({name.removesuffix("_total") for name in listed}) == sorted(
        {name.removesuffix("_total") for name in shown}
    )
