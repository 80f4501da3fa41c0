"""HUP as an operator meets it: settings read again, workers rolled, and what a service manager hears of it."""

from __future__ import annotations

import json
import queue
import re
import signal
import socket
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import certifi
import pytest
import redis as redis_py
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.integration.conftest import PATIENCE_S, clean_environment, wait_until
from tests.integration.processes import environment_of

from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import open_parts
from reconciler_engine.supervisor.engine_run import _Reload

NEVER = "0 0 1 1 *"


class Manager:
    """A service manager: a datagram socket, as systemd has it. It keeps ten words, so they are taken as they come."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.hears_that_all_is_well = threading.Event()
        self._heard: queue.Queue[str] = queue.Queue()
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._door.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._ear = threading.Thread(target=self._listen)
        self._ear.start()

    def _listen(self) -> None:
        while said := self._door.recv(4_096).decode():
            if said == "WATCHDOG=1":
                self.hears_that_all_is_well.set()
            else:
                self._heard.put(said)

    def hear(self) -> dict[str, str]:
        """The next thing that is said, but that all is well."""
        return dict(line.split("=", 1) for line in self._heard.get(timeout=PATIENCE_S).splitlines())

    def close(self) -> None:
        self._door.shutdown(socket.SHUT_RD)
        self._ear.join()
        self._door.close()
        if not self.address.startswith("@"):
            Path(self.address).unlink()


@pytest.fixture
def settings(tmp_path):
    """Writes the settings file."""

    def write(**changes):
        values = {
            "symbols": ["BTC-USD"], "timeframes": ["5m"], "gap_scan_cron": NEVER, "full_reconcile_cron": NEVER,
            "batch_size": 50, "workers": 2, **changes,
        }  # fmt: skip
        path = tmp_path / "settings.toml"
        path.write_text("".join(f"{name} = {value!r}\n" for name, value in values.items()))
        return path

    return write


@pytest.fixture
def start_engine(start_process, start_exchange, tmp_path, own_server, settings):
    def start(*arguments, key_files=(), faults=None, workers=2, **environment):
        exchange = start_exchange(public_rate=0, key_files=key_files, faults=faults)
        engine = start_process(
            "start", "--json", "--config", str(settings(workers=workers)), "--base-url", exchange.url,
            "--listen", "off", "--data-dir", str(tmp_path / "data"), *arguments,
            environment=clean_environment(RECONCILER_REDIS_URL=own_server.url, **environment),
        )  # fmt: skip
        return engine, exchange

    return start


@pytest.fixture
def listen():
    """Be a service manager at an address."""
    with ExitStack() as stack:
        yield lambda address: stack.enter_context(closing(Manager(address)))


def reload(engine) -> None:
    engine.process.send_signal(signal.SIGHUP)


def refused(engine, count) -> list[str]:
    return [engine.wait_event("settings not taken, all stays as it was")["fault"] for _ in range(count)]


def test_wrong_settings_change_nothing_new_ones_reach_workers_and_service_manager(
    start_engine, settings, own_server, listen
):
    manager = listen(str(own_server.plan.socket.with_name("manager")))
    engine, _ = start_engine(NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="2000000")
    assert manager.hear() == {"READY": "1", "STATUS": "at work with 2 workers"}
    old = [engine.wait_event("child ready") for _ in range(2)]
    assert "NOTIFY_SOCKET" not in environment_of(old[0]["pid"])
    assert manager.hears_that_all_is_well.wait(PATIENCE_S)

    # told in full
    before = time.monotonic_ns() // 1_000
    settings(workers=0, symbols=["no product"], colour="red", exchange_id=2)
    reload(engine)
    said = manager.hear()
    assert said.pop("RELOADING") == "1"
    assert before <= int(said.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1_000
    assert manager.hear() == {"READY": "1", "STATUS": "at work; newer settings were refused"}
    faults = "\n".join(refused(engine, 4))
    words = ("workers 0", "'no product'", "colour", "exchange_id 2 cannot change while the engine runs; allowed: 1,")
    assert [word for word in words if word not in faults] == []
    settings(workers=3, exchange_id=2)
    reload(engine)
    assert manager.hear()["RELOADING"] == "1"
    assert refused(engine, 2) == [
        "exchange_id 2 cannot change while the engine runs; allowed: 1, or a restart",
        "workers 3 cannot change while the engine runs; allowed: 2, or a restart",
    ]
    assert "refused" in manager.hear()["STATUS"]
    assert all(Path(f"/proc/{one['pid']}").exists() for one in old)

    engine.wait_event("pass done", job="full_reconcile")
    settings(symbols=["BTC-USD", "ETH-USD"], gap_scan_cron="* * * * * *", batch_size=60)
    reload(engine)
    assert manager.hear()["RELOADING"] == "1"
    assert manager.hear() == {"READY": "1", "STATUS": "at work"}
    new = [engine.wait_event("child ready")["child"] for _ in range(2)]
    assert (sorted(one["child"] for one in old), sorted(new)) == (["worker-1", "worker-2"], ["worker-3", "worker-4"])
    # by the new schedule, over the new symbols
    engine.wait_event("pass done", job="gap_scan")
    with redis_py.Redis.from_url(own_server.url) as client:
        assert client.zcard("candles:1:1:ETH-USD:5m")

    engine.process.send_signal(signal.SIGTERM)
    assert manager.hear()["STOPPING"] == "1"
    assert engine.process.wait(PATIENCE_S) == 0
    assert not any("child died" in line for line in engine.read_all())


async def test_nothing_refuses_newer_settings_once_the_workers_have_them(own_server):
    config = ReconciliationConfig.check({"symbols": ["BTC-USD"], "timeframes": ["1h"]})
    taken = []

    class Workers:
        async def roll(self, _):
            own_server.kill()
            taken.append("workers")

    async def replan():
        newer = config.model_copy(update={"batch_size": 60})
        return SimpleNamespace(config=newer, owns_server=False, identity=None, unknown=())

    async with open_parts(config, own_server.url, owns_server=False) as parts:
        passes = SimpleNamespace(parts=parts, unknown=(), renew=lambda *_: taken.append("series"), jobs=list)
        scheduler = SimpleNamespace(reschedule=lambda _: taken.append("schedule"))
        reload = cast("Any", _Reload)(replan, Workers(), passes, scheduler)
        await reload._perform()
    assert taken == ["workers", "series", "schedule"]


def write_key(path: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    path.write_text(json.dumps({"name": name, "privateKey": text}))
    path.chmod(0o600)
    return path


@pytest.mark.slow
def test_a_refused_key_put_in_order_or_rotated_is_used_at_once(start_engine, settings, tmp_path):
    """It was refused too often, so nothing is asked under it for an hour; HUP says that this is over."""
    old, new = (write_key(tmp_path / f"{name}.json", f"organizations/x/apiKeys/{name}") for name in ("old", "new"))
    key = tmp_path / "key.json"
    key.write_bytes(old.read_bytes())
    key.chmod(0o600)
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nmode = "unauthorized"\npath = "*/candles"')
    engine, exchange = start_engine("--key-file", str(key), key_files=(old, new), faults=faults, workers=1)
    done = engine.wait_event("pass degraded", job="full_reconcile")
    assert "exchange refused the credentials" in done["errors"][0]

    faults.write_text("")
    settings(gap_scan_cron="* * * * * *", workers=1)
    reload(engine)
    engine.wait_event("settings taken")
    # one that was under way may still have been refused
    passes = (engine.wait_event("pass done") for _ in range(5))
    assert any(one["filled"] and not one["errors"] for one in passes)
    assert served(exchange) == {("BTC-USD", "organizations/x/apiKeys/old")}

    key.write_bytes(new.read_bytes())
    settings(symbols=["ETH-USD"], gap_scan_cron="* * * * * *", workers=1)
    reload(engine)
    wait_until(lambda: any(product == "ETH-USD" for product, _ in served(exchange)))
    assert engine.stop() == 0
    assert {name for product, name in served(exchange) if product == "ETH-USD"} == {"organizations/x/apiKeys/new"}


def served(exchange) -> set[tuple[str, str]]:
    """Product and key of the pages that were had."""
    return {(one["product"], one["key"]) for one in exchange.requests() if one["status"] == 200}


@pytest.mark.slow
def test_what_changed_is_named_and_taken_though_redis_goes_and_what_is_not_known_not(
    start_engine, settings, own_server, tmp_path
):
    authorities = tmp_path / "ca.pem"
    pem = Path(certifi.where()).read_text()
    authorities.write_text(pem)
    engine, _ = start_engine("--ca-file", str(authorities), workers=1)
    worker = engine.wait_event("child ready")["pid"]

    def changed(*, but=lambda: None, **changes):
        settings(workers=1, **changes)
        reload(engine)
        # The successor is; the old one has yet to end.
        engine.wait_event("child ready")
        but()
        return engine.wait_event("settings taken")["changed"]

    settings(workers=1)
    reload(engine)
    engine.wait_event("settings unchanged, nothing was replaced")
    settings(workers=1, symbols=["BTC-USDD"])
    reload(engine)
    (fault,) = refused(engine, 1)
    assert fault.startswith("symbol BTC-USDD is not a product of the exchange; near: BTC-USD,")
    assert Path(f"/proc/{worker}").exists()

    assert re.fullmatch(r"batch_size \d+ -> 60", changed(batch_size=60))
    symbols = ["BTC-USD", "BTC-UDS"]
    assert changed(batch_size=60, symbols=symbols) == "unknown symbols BTC-UDS"
    # under the same name
    authorities.write_text(f"{pem}\n# renewed\n")
    assert changed(batch_size=60, symbols=symbols) == f"certificates of {authorities}"
    engine.wait_event("pass done", job="full_reconcile")
    assert changed(but=own_server.kill, symbols=symbols) == "batch_size 60 -> 50"
    assert engine.stop() == 0
