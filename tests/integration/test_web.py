"""Probes, metrics and pages of a running engine, through the faults they must tell of."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from http import HTTPStatus
from typing import NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.conftest import PATIENCE_S, clean_environment
from tests.integration.processes import is_there

from reconciler_engine.errors import ConfigError
from reconciler_engine.observe.web.listen import ListenAddress
from reconciler_engine.observe.web.server import BOUNDS
from reconciler_engine.supervisor.web_child import open_listener

NEVER = "0 0 1 1 *"
TOKEN = "canary-0123456789abcdef"
ARGUMENTS = (
    "--json", "--symbols", "BTC-USD", "--timeframes", "1m", "--gap-scan-cron", NEVER, "--full-reconcile-cron", NEVER,
    "--batch-size", "100", "--workers", "1", "--listen", "127.0.0.1:0",
)  # fmt: skip


class Page(NamedTuple):
    """Answer to a request for a page."""

    status: int
    text: str

    @property
    def checks(self) -> dict[str, str]:
        """Reasons of the checks that fail, by name."""
        lines = [json.loads(line) for line in self.text.splitlines()]
        return {line["name"]: line["detail"] for line in lines if not line["ok"]}


def get(url: str, **headers: str) -> Page:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=PATIENCE_S) as answer:
            return Page(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Page(error.code, error.read().decode())


def wait_page(url: str, wanted) -> Page:
    """Ask until the answer is the wanted one."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        page = get(url)
        if wanted(page):
            return page
        assert time.monotonic() < deadline, page
        time.sleep(0.1)


def metrics(url: str) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample by name and label values."""
    families = text_string_to_metric_families(get(f"{url}metrics").text)
    return {
        (sample.name.removeprefix("reconciler_"), tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path):
    """Start an engine and wait for its first pass; gives it and the address of its pages."""

    def start(redis_url, *arguments, **settings):
        exchange = start_exchange(public_rate=0)
        engine = start_process(
            "start", *ARGUMENTS, "--base-url", exchange.url, "--data-dir", str(tmp_path / "data"), *arguments,
            environment=clean_environment(RECONCILER_REDIS_URL=redis_url, **settings),
        )  # fmt: skip
        url = engine.wait_event("pages")["url"]
        engine.wait_event("pass done", job="full_reconcile")
        return engine, url

    return start


def bother(url: str) -> None:
    """Come as a stranger who breaks rules, and as many who say nothing; probes are answered meanwhile."""
    where = (urllib.parse.urlsplit(url).hostname, urllib.parse.urlsplit(url).port)
    for _ in range(29):
        with socket.create_connection(where, PATIENCE_S) as stranger:
            stranger.sendall(b"HEAD / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")
            assert stranger.recv(100).startswith(b"HTTP/1.1 413 ")
    with ExitStack() as silent:
        for _ in range(2 * BOUNDS.connections):
            silent.enter_context(socket.create_connection(where, PATIENCE_S))
        assert get(f"{url}livez").status == HTTPStatus.OK


@pytest.mark.slow
def test_counts_outlive_strangers_and_the_death_of_processes(start_engine, redis_url):
    engine, url = start_engine(redis_url)
    web = engine.wait_event("child ready", child="web")["pid"]
    bother(url)
    assert is_there(web)
    wait_page(f"{url}readyz", lambda page: page.status == HTTPStatus.OK)
    assert get(f"{url}livez").status == HTTPStatus.OK
    wait_page(f"{url}metrics", lambda page: 'ticks_total{job="full_reconcile",outcome="done"} 1.0' in page.text)
    filled = metrics(url)["slots_total", ("full_reconcile", "filled")]
    assert filled > 0
    # the worker's counts come with its next beat
    wait_page(f"{url}metrics", lambda page: f'merged_candles_total{{outcome="inserted"}} {filled}' in page.text)
    before = metrics(url)
    assert before["requests_total", ("candles", "ok", "200")] >= 1
    assert before["merged_candles_total", ("inserted",)] == filled
    assert before["ticks_total", ("full_reconcile", "done")] == 1
    assert before["permit_wait_seconds_count", ()] >= before["requests_total", ("candles", "ok", "200")]
    # A bar that closes meanwhile waits for the next scan: the series counts as ready or as lacking that bar.
    assert sum(count for (name, _), count in before.items() if name == "series") == 1
    assert abs(before["job_last_success_timestamp_seconds", ("full_reconcile",)] - time.time()) < 600

    # the pages' own look at the series goes by the engine's settings
    assert 'class="strip" role="img"' in get(f"{url}coverage?window=kept").text
    assert "the newest " in get(f"{url}series?name=BTC-USD%3A1m").text
    assert get(f"{url}series?name=NOPE-USD%3A1m").status == HTTPStatus.BAD_REQUEST

    # a killed worker takes no count with it
    worker = engine.wait_event("child ready", child="worker-1")["pid"]
    os.kill(worker, signal.SIGKILL)
    engine.wait_event("child ready", child="worker-2")
    wait_page(f"{url}metrics", lambda page: 'restarts_total{role="worker"} 1.0' in page.text)
    after = metrics(url)
    counters = [key for key in before if key[0].endswith(("_total", "_count", "_bucket", "_sum"))]
    assert [key for key in counters if after[key] < before[key]] == []
    assert after["requests_total", ("candles", "ok", "200")] == before["requests_total", ("candles", "ok", "200")]

    # nor does the death of the pages stop anything: requests wait at the open port meanwhile
    os.kill(web, signal.SIGKILL)
    assert get(f"{url}livez").status == HTTPStatus.OK
    wait_page(f"{url}metrics", lambda page: 'restarts_total{role="web"} 1.0' in page.text)
    assert metrics(url)["slots_total", ("full_reconcile", "filled")] == filled


def test_probes_tell_of_a_redis_that_is_away_and_of_a_supervisor_that_hangs(start_engine, own_server):
    engine, url = start_engine(own_server.url)
    wait_page(f"{url}readyz", lambda page: page.status == HTTPStatus.OK)
    # without Redis the pages answer, and say so
    own_server.kill()
    unready = wait_page(f"{url}readyz", lambda page: page.status == HTTPStatus.SERVICE_UNAVAILABLE)
    assert list(unready.checks) == ["redis"]
    assert get(f"{url}livez").status == HTTPStatus.OK
    assert wait_page(f"{url}metrics", lambda page: "reconciler_redis_up 0.0" in page.text)
    assert "redis: " in get(url).text
    unread = "The state of the series could not be read from Redis"
    assert unread in wait_page(f"{url}coverage", lambda page: unread in page.text).text
    own_server.start()
    wait_page(f"{url}readyz", lambda page: page.status == HTTPStatus.OK)

    # a supervisor that hangs
    engine.process.send_signal(signal.SIGSTOP)
    silent = wait_page(f"{url}livez", lambda page: page.status == HTTPStatus.SERVICE_UNAVAILABLE)
    assert silent.checks.keys() == {"supervisor"}
    engine.process.send_signal(signal.SIGCONT)
    wait_page(f"{url}livez", lambda page: page.status == HTTPStatus.OK)
    assert engine.stop() == 0
    with pytest.raises(urllib.error.URLError, match="refused"):
        get(url)


def test_a_port_in_use_is_refused_where_it_was_named(run_inside, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_inside("start", "--symbols", "BTC-USD", "--data-dir", tmp_path / "data", "--listen", port)
        assert done.code == 78
        assert f"listen '127.0.0.1:{port}': Address already in use; allowed: " in done.err
        address = ListenAddress(port=port)
        with open_listener(address, is_fixed=False) as another:
            assert another.getsockname()[1] not in (0, port)
        with pytest.raises(ConfigError):
            open_listener(address, is_fixed=True)


@pytest.mark.parametrize(
    ("listen", "why"),
    [
        ("0.0.0.0:9464", "other machines can ask there, so listen_token must be set"),
        ("example.com:80", "allowed: HOST:PORT of probes"),
    ],
)
def test_an_address_that_is_not_allowed_is_refused_before_anything_starts(run_inside, listen, why):
    done = run_inside("start", "--symbols", "BTC-USD", "--listen", listen)
    assert done.code == 78
    assert f"listen '{listen}' (from --listen): " in done.err
    assert why in done.err


def test_a_token_has_no_flag_and_is_not_repeated(run_inside):
    done = run_inside("start", "--symbols", "BTC-USD", RECONCILER_LISTEN_TOKEN="tooshort")
    assert done.code == 78
    assert "listen_token <hidden> (from RECONCILER_LISTEN_TOKEN): allowed: " in done.err
    assert "tooshort" not in done.err
    assert run_inside("start", "--listen-token", TOKEN).code == 2
