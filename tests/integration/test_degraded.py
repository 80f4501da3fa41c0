"""An exchange that does not answer: the engine serves, says that it cannot do its work, and counts no success."""

from __future__ import annotations

import json
import urllib.request
from http import HTTPStatus

from tests.integration.conftest import PATIENCE_S, clean_environment
from tests.integration.engines import DENSE, UNKNOWN, engine, span
from tests.integration.test_web import get, metrics, wait_page

from reconciler_engine.engine.passes.pass_plan import PassRequest
from reconciler_engine.simulator.faults.rules import FaultRule

ONCE_A_YEAR = "0 0 1 1 *"
OWN_ANSWER, OF_OTHERS = "INTERNAL: Service Unavailable", "to the last requests"
AWAY = {"fault": [{"mode": "status", "status": 503, "path": "*/candles"}]}


def play(exchange, rules: dict) -> None:
    request = urllib.request.Request(f"{exchange.url}/simulator/faults", json.dumps(rules).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
        assert reply.status == HTTPStatus.OK


async def test_a_pass_without_answers_is_degraded_and_tells_the_cause_once(redis_url):
    away = FaultRule("away", "status", path="*/candles", values={"status": 503, "body": "json"})
    async with engine(redis_url, faults=[away]) as run:
        result = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [DENSE], span(600)))
    assert result.unresolved == 600
    seen, heard = (f"exchange unavailable: HTTP 503 {told}" for told in (OWN_ANSWER, OF_OTHERS))
    # One cause for both pages, unless the probe that found the exchange still away was the last try of one of them.
    told = f"2 tasks not done: {heard} (2 times)", f"2 tasks not done: {seen}; {heard}"
    assert result.degraded in told


async def test_a_product_that_the_exchange_does_not_have_degrades_nothing(redis_url):
    async with engine(redis_url) as run:
        result = await run.parts.reconciler.run_pass(PassRequest("gap_scan", [UNKNOWN], span(10)))
    assert (result.unresolved, result.degraded) == (10, None)


def degraded_of(page: str) -> dict[str, str]:
    """Details by name of what a page calls degraded."""
    return {line["name"]: line["detail"] for line in map(json.loads, page.splitlines()) if line["degraded"]}


def test_an_engine_without_its_exchange_says_so_and_serves(
    start_process, start_exchange, own_server, run_inside, tmp_path
):
    exchange = start_exchange(public_rate=0)
    play(exchange, AWAY)
    running = start_process(
        "start", "--json", "--symbols", "BTC-USD", "--timeframes", "1h", "--full-reconcile-cron", ONCE_A_YEAR,
        "--gap-scan-cron", "*/5 * * * * *", "--workers", "1", "--listen", "127.0.0.1:0", "--base-url", exchange.url,
        "--batch-size", "100", "--data-dir", str(tmp_path / "data"),
        environment=clean_environment(RECONCILER_REDIS_URL=own_server.url),
    )  # fmt: skip
    url = running.wait_event("pages")["url"]
    told = running.wait_event("pass degraded", job="full_reconcile")
    assert told["level"] == "WARNING"
    assert "HTTP 503" in told["degraded"]
    page = wait_page(f"{url}readyz", lambda page: "job full_reconcile" in degraded_of(page.text))
    assert page.status == HTTPStatus.OK
    degraded = degraded_of(page.text)
    assert "its last run could not do its work: " in degraded["job full_reconcile"]
    found = metrics(url)
    assert (found["ready", ()], found["degraded", ()]) == (1, 1)
    assert found["ticks_total", ("full_reconcile", "degraded")] >= 1
    assert ("job_last_success_timestamp_seconds", ("full_reconcile",)) not in found
    assert "The engine is degraded" in get(url).text
    shown = run_inside("status", "--redis-url", own_server.url)
    assert "degraded: job full_reconcile: its last run could not do its work" in shown.out
    # and once the exchange is back, nothing of that is left
    play(exchange, {"fault": []})
    wait_page(f"{url}readyz", lambda page: '"degraded": true' not in page.text and page.status == HTTPStatus.OK)
    assert (metrics(url)["degraded", ()], "The engine is ready" in get(url).text) == (0, True)
    assert running.stop() == 0
