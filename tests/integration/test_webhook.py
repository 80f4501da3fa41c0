"""The webhook, tried against a receiver on a real socket: signed, in order, again where it fails, once an alert."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import cast

import pytest
import redis as redis_py
import trio
import trio.testing
from tests.integration.conftest import PATIENCE_S, clean_environment
from tests.integration.test_web import ARGUMENTS
from tests.unit.test_observe_readiness import report

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.engine.scheduled_passes import ScheduledPasses
from reconciler_engine.errors import RoleFailed
from reconciler_engine.observe import alerts
from reconciler_engine.observe.objective import BarCounts
from reconciler_engine.observe.status import Report
from reconciler_engine.planning.timely_bars import Reached
from reconciler_engine.scheduling.scheduler import wall_clock
from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.objective_counts import FrameCounts
from reconciler_engine.store.open_alerts import OpenAlerts
from reconciler_engine.store.scope import Scope
from reconciler_engine.supervisor import alerting
from reconciler_engine.supervisor.alerting import Alerting
from reconciler_engine.supervisor.report_source import ReportSource
from reconciler_engine.webhook import sender as sending
from reconciler_engine.webhook.sender import DELIVERY, SIGNATURE, Post, Sender, Target, send

SECRET = "canary-of-the-webhook-5e"


class Receiver(ThreadingHTTPServer):
    """Takes posts; answers with the next of `statuses`, then with 204."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses: list[int] = []
        self.heard: list[tuple[int, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/hook?token=1"

    @property
    def taken(self) -> list[dict]:
        return [json.loads(body) for status, _, body in self.heard if status == 204]

    def wait_taken(self, wanted) -> dict:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for one in self.taken:
                if wanted(one):
                    return one
            assert time.monotonic() < deadline, self.taken
            time.sleep(0.1)


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.server.heard.append((status, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(status)
        self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def signature_of(body: bytes) -> str:
    return "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()


async def test_posts_are_signed_come_in_order_and_again_with_the_same_id(receiver, monkeypatch):
    monkeypatch.setattr(sending, "_FIRST_WAIT_S", 0.01)
    receiver.statuses = [503, 429, 500]
    sender = Sender(lambda: Target(receiver.url, SECRET), Random(1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.run)
        for number in range(3):
            sender.post({"number": number})
        await trio.to_thread.run_sync(receiver.wait_taken, lambda one: one["number"] == 2)
        nursery.cancel_scope.cancel()
    assert [one["number"] for one in receiver.taken] == [0, 1, 2]
    assert [headers[SIGNATURE] for _, headers, _ in receiver.heard] == [
        signature_of(body) for *_, body in receiver.heard
    ]
    assert len({headers[DELIVERY] for _, headers, _ in receiver.heard[:4]}) == 1
    assert len({headers[DELIVERY] for _, headers, _ in receiver.heard}) == 3
    assert receiver.taken[0]["id"] == receiver.heard[0][1][DELIVERY]


@pytest.mark.parametrize(
    ("status", "taken", "again"),
    [(200, True, False), (302, False, False), (400, False, False), (404, False, False), (429, False, True),
     (503, False, True)],
)  # fmt: skip
async def test_what_each_answer_comes_to(receiver, status, taken, again):
    receiver.statuses = [status]
    answer = await send(Target(receiver.url), Post("1", b"{}"))
    assert answer == (taken, again, f"HTTP {status}")
    assert SIGNATURE not in receiver.heard[0][1]


async def test_a_receiver_that_is_not_there_is_tried_again_and_its_url_is_not_told():
    answer = await send(Target("http://127.0.0.1:1/secret-token"), Post("1", b"{}"))
    assert (answer.taken, answer.again, answer.detail) == (False, True, "ConnectError")


async def test_a_full_queue_drops_and_never_waits(monkeypatch, caplog):
    monkeypatch.setattr(sending, "_QUEUE", 2)
    sender = Sender(lambda: None)
    for number in range(3):
        sender.post({"number": number})
    assert [record.message for record in caplog.records] == ["a post is dropped, too many wait"]


async def test_an_alert_is_noted_once_over_nodes_and_struck_off_once(redis_url):
    async with TrioRedis.from_url(redis_url) as client:
        one, other = (OpenAlerts(client, Scope(1, 1, "exchange")) for _ in range(2))
        assert await one.begin({"a": 1, "b": 2}) == ["a", "b"]
        assert await other.begin({"b": 3, "c": 4}) == ["c"]
        assert await other.read() == {"a": 1, "b": 2, "c": 4}
        assert await other.end(["a", "b"]) == ["a", "b"]
        assert await one.end(["a", "b", "c"]) == ["c"]
        await client.set(Scope(1, 1, "elsewhere").key("alerts"), "text")


def burning(redis_url: str, *frames: str) -> None:
    """Note bars of timeframes as an engine does of which half were late."""
    now = time.time_ns() // 1_000_000
    record = FrameCounts(complete=now, verified=now).plus(BarCounts(100, 50), Reached(now, now), now)
    with redis_py.Redis.from_url(redis_url) as client:
        (key,) = client.keys("*:coverage")
        fields = dict.fromkeys(frames, record.model_dump_json())
        client.hset(key.replace(b":coverage", b":objective"), mapping=fields)


@pytest.mark.slow
def test_an_engine_tells_what_begins_and_one_that_follows_it_tells_it_not_again(
    start_process, start_exchange, own_server, receiver, tmp_path
):
    exchange = start_exchange(public_rate=0)
    environment = clean_environment(
        RECONCILER_REDIS_URL=own_server.url, RECONCILER_WEBHOOK_URL=receiver.url, RECONCILER_WEBHOOK_SECRET=SECRET
    )
    for frames in (["5m"], ["5m", "1h"]):
        engine = start_process(
            "start", *ARGUMENTS, "--listen", "off", "--base-url", exchange.url, "--data-dir", str(tmp_path / "data"),
            environment=environment,
        )  # fmt: skip
        engine.wait_event("pass done", job="full_reconcile")
        burning(own_server.url, *frames)
        told = receiver.wait_taken(lambda one, last=frames[-1]: one["subjects"][0]["subject"] == last)
        assert (told["alert"], told["phase"], told["count"]) == ("slo_burning", "begin", 1)
        assert engine.stop() == 0
        assert SECRET not in "".join(engine.read_all())
    assert len(receiver.taken) == 2
    assert all(headers[SIGNATURE] == signature_of(body) for _, headers, body in receiver.heard)


class Reports:
    """Says of an engine whether Redis takes its status."""

    def __init__(self) -> None:
        self.redis_error: str | None = None

    def report(self) -> Report:
        return report(redis_error=self.redis_error)


async def test_an_engine_that_ends_since_a_role_was_given_up_says_so_first(redis_url, receiver):
    config, reports = ReconciliationConfig.check({"webhook_url": receiver.url, "symbols": "BTC-USD"}), Reports()
    async with open_parts(config, redis_url, owns_server=False) as parts, trio.open_nursery() as nursery:
        passes = ScheduledPasses(parts, config.series(), now=wall_clock)
        alerting_ = Alerting(passes, cast("ReportSource", reports))
        nursery.start_soon(alerting_.run)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(ExceptionGroup), alerting_.noting_failure():
            raise ExceptionGroup("", [RoleFailed("worker-7", "died 6 times in a minute", 1)])
        nursery.cancel_scope.cancel()
    (told,) = receiver.taken
    assert (told["alert"], told["phase"]) == ("role_given_up", "begin")
    assert told["subjects"][0]["detail"] == "worker-7 given up: died 6 times in a minute"


async def test_a_redis_that_is_away_is_told_without_it_and_its_end_once_it_is_back(own_server, receiver, monkeypatch):
    monkeypatch.setattr(alerting, "LOOK_S", 0.05)
    monkeypatch.setattr(alerting, "AFTER_MS", {})
    monkeypatch.setattr(alerts, "QUIET_MS", 200)
    settings = {"webhook_url": receiver.url, "symbols": "BTC-USD"}
    config, reports = ReconciliationConfig.check(settings), Reports()
    async with open_parts(config, own_server.url, owns_server=False) as parts, trio.open_nursery() as nursery:
        passes = ScheduledPasses(parts, config.series(), now=wall_clock)
        nursery.start_soon(Alerting(passes, cast("ReportSource", reports)).run)
        own_server.kill()
        reports.redis_error = "connection refused"
        begun = await trio.to_thread.run_sync(receiver.wait_taken, lambda one: one["phase"] == "begin")
        own_server.start()
        reports.redis_error = None
        ended = await trio.to_thread.run_sync(receiver.wait_taken, lambda one: one["phase"] == "end")
        nursery.cancel_scope.cancel()
    assert begun["alert"] == ended["alert"] == "engine_not_ready"
    assert begun["subjects"][0]["detail"] == "redis: connection refused"
    assert ended["subjects"][0]["since"] == begun["subjects"][0]["since"]
    assert len(receiver.taken) == 2


def test_doctor_sends_a_test_alert_where_it_is_asked_to(run_inside, receiver):
    settings = {"RECONCILER_WEBHOOK_URL": receiver.url, "RECONCILER_WEBHOOK_SECRET": SECRET}

    def webhook(*arguments: str, **environment: str) -> dict[str, str]:
        done = run_inside("doctor", "--json", "--base-url", "http://127.0.0.1:1", *arguments, **environment)
        check: dict[str, str]
        (check,) = [one for one in done.json["checks"] if one["name"] == "webhook"]
        return check

    assert webhook(**settings)["status"] == "skipped"
    assert receiver.heard == []
    assert webhook("--send-test-alert", **settings)["detail"] == "took the test alert (HTTP 204), signed"
    ((_, headers, body),) = receiver.heard
    assert headers[SIGNATURE] == signature_of(body)
    assert json.loads(body)["alert"] == "test"
    receiver.statuses = [500]
    assert webhook("--send-test-alert", **settings)["detail"] == "did not take the test alert: HTTP 500"
    assert webhook("--send-test-alert")["status"] == "fail"
