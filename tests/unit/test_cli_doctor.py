"""`doctor`'s judgements, as tables."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from reconciler_engine.cli.doctor.cache_checks import _eviction, _judged, _persistence
from reconciler_engine.cli.doctor.check import Check, exit_code
from reconciler_engine.cli.doctor.exchange_checks import check_clocks
from reconciler_engine.cli.doctor.setting_checks import (
    _free_space,
    check_budget,
    check_disk,
    check_pages,
    check_verification,
    duration_s,
)
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.errors import StoreRefused
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.client.server_check import ServerInfo

MIB = 1024 * 1024


def failed(code: int) -> Check:
    return Check("x", "fail", "d", "h", code)


@pytest.mark.parametrize(
    ("checks", "code"),
    [
        ([], 0),
        ([Check("x", "ok", "d"), Check("x", "warn", "d", code=78), Check("x", "skipped", "d")], 0),
        ([failed(69), failed(69), Check("x", "ok", "d")], 69),
        ([failed(78)], 78),
        ([failed(1)], 1),
        ([failed(69), failed(78)], 1),
        ([failed(69), failed(1)], 1),
    ],
)
def test_the_exit_code_is_the_cause_that_all_failures_share(checks, code):
    assert exit_code(checks) == code


@pytest.mark.parametrize(
    ("requests", "budget", "expected_s"),
    [
        (0, Budget(5, 1_000), 0),
        # the burst goes at once, less what lateness takes of it
        (5, Budget(5, 1_000), 0.25),
        (1_000, Budget(5, 1_000), 199.25),
        (10_000, Budget(50, 1_000, 10_000), 3_600),
    ],
)
def test_how_long_requests_take(requests, budget, expected_s):
    assert duration_s(requests, budget) == pytest.approx(expected_s, rel=0.001)


def test_an_outage_is_a_page_a_series():
    config = ReconciliationConfig(batch_size=2)
    series = [Series(f"A{number}-USD", frame) for number in range(100) for frame in (Timeframe.M1, Timeframe.D1)]
    check = check_budget(config, series, signed=False)
    assert check.status == "ok"
    assert check.detail.startswith("200 series; an outage of an hour over all of them is 200 requests, 1 min 40 s at 2")
    assert check_budget(config, series * 40, signed=False).status == "warn"
    assert check_budget(config, None, signed=False).status == "skipped"
    assert check_budget(config, [], signed=False).status == "skipped"


def test_verification_is_told_in_requests_with_the_cure_of_a_small_share():
    config = ReconciliationConfig()
    series = [Series(f"A{number}-USD", Timeframe(name)) for number in range(300) for name in config.timeframes]
    few = check_verification(config, series[:300], signed=False)
    assert few.status == "ok"
    assert few.detail == (
        "about 502 requests an hour for 300 series, or 197 if longer bars equal the sums of shorter ones; second "
        "answers and references not counted; verify_share 0.25 allows 4500"
    )
    many = check_verification(config, series, signed=False)
    assert many.status == "warn"
    assert many.detail.splitlines()[1] == (
        "when a day begins 1800 are due within 19 min, of which 1425 go out: until the others do, `ready` says no of "
        "their series, because bars are unverified"
    )
    assert (
        many.hint == "set verify_share to 0.32 or more, or max_unverified_ms to 2100000 or more, or keep fewer series"
    )
    most = check_verification(config, series * 5, signed=False)
    assert most.hint == "set max_unverified_ms to 7860000 or more, or keep fewer series"
    assert check_verification(config, None, signed=False).status == "skipped"
    assert check_verification(config, [], signed=False).status == "skipped"


@pytest.mark.parametrize(("free", "status"), [(99 * MIB, "fail"), (500 * MIB, "warn"), (2_000 * MIB, "ok")])
def test_room_on_disk(free, status):
    assert _free_space(Path("/x"), free).status == status


def test_a_data_directory_that_cannot_be_is_a_fault_of_the_configuration(tmp_path):
    file = tmp_path / "file"
    file.touch()
    check = check_disk(ReconciliationConfig(data_dir=file / "data"))
    assert (check.status, check.code) == ("fail", 78)
    assert check.detail == f"{file} cannot be written"


@pytest.mark.parametrize(("median_ms", "status"), [(0.1, "ok"), (20.0, "ok"), (20.1, "warn")])
def test_latency(median_ms, status):
    assert _judged(median_ms).status == status


@pytest.mark.parametrize(
    ("policy", "status"), [("noeviction", "ok"), ("", "ok"), ("volatile-ttl", "warn"), ("allkeys-random", "warn")]
)
def test_eviction(policy, status):
    assert _eviction(ServerInfo("redis", (7, 0, 0), (7, 0, 0), "standalone", policy)).status == status


class FakeClient:
    """Answers INFO persistence and CONFIG GET save."""

    def __init__(self, info: bytes, save: Any) -> None:
        self._replies = [info, save]

    async def pipe(self, commands: Any) -> list[Any]:
        assert len(commands) == len(self._replies)
        return self._replies


DENIED = StoreRefused("NOPERM", code="NOPERM")


@pytest.mark.parametrize(
    ("info", "save", "status", "says"),
    [
        (b"aof_enabled:1\r\naof_last_write_status:ok\r\n", [b"save", b""], "ok", "append-only file"),
        (b"aof_enabled:0\r\n", [b"save", b"60 1"], "ok", "snapshots (60 1)"),
        (b"aof_enabled:0\r\n", [b"save", b""], "warn", "neither append-only file nor snapshots are on"),
        (b"aof_enabled:0\r\n", DENIED, "warn", "are on or cannot be asked for"),
        (b"aof_enabled:1\r\naof_last_write_status:err\r\n", [b"save", b""], "fail", "append-only file could not be"),
        (b"aof_enabled:0\r\nrdb_last_bgsave_status:err\r\n", [b"save", b"60 1"], "fail", "snapshot could not be"),
    ],
)
async def test_persistence(info, save, status, says):
    client: Any = FakeClient(info, save)
    check = await _persistence(client)
    assert check.status == status
    assert says in check.detail


@pytest.mark.parametrize(
    ("exchange_ms", "redis_ms", "signed", "status", "says"),
    [
        (None, None, False, "skipped", ""),
        (900, -900, False, "warn", "Redis' clock is 1.8 s behind the exchange's: bars are looked for"),
        (900, 900, True, "ok", ""),
        (None, 40, False, "ok", ""),
        (1_500, 1_500, False, "warn", "it stamps the tokens and decides when jobs run"),
        (1_500, None, False, "warn", "it stamps the tokens and decides when jobs run"),
        (0, 5_000, False, "warn", "Redis' clock is 5.0 s ahead of the exchange's: `ready` asks for bars"),
        (-40_000, 0, True, "fail", "it stamps the tokens and decides when jobs run"),
        (-40_000, 0, False, "warn", "it stamps the tokens and decides when jobs run"),
    ],
)
def test_clocks_that_differ_by_more_than_a_second_are_told_with_the_consequence(
    exchange_ms, redis_ms, signed, status, says
):
    check = check_clocks(exchange_ms, redis_ms, "https://exchange.test", signed=signed)
    assert check.status == status
    assert says in check.hint
    assert bool(check.hint) == (status in ("warn", "fail"))


def test_where_the_pages_would_be():
    assert check_pages(ReconciliationConfig(listen="off")).status == "skipped"
    assert check_pages(ReconciliationConfig(listen="127.0.0.1:0")).status == "ok"
    # no machine has a documentation address
    nowhere = check_pages(ReconciliationConfig(listen="192.0.2.1:9464"))
    assert (nowhere.status, nowhere.code) == ("fail", 78)
    assert "listen '192.0.2.1:9464': " in nowhere.detail
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        assert check_pages(ReconciliationConfig(listen=listen)).status == "fail"
