"""HUP as an operator meets it: settings read again, workers rolled, and what a service manager hears of it."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path

import pytest
import redis as redis_py
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

NEVER = "0 0 1 1 *"
PATIENCE_S = 30.0


class Manager:
    """A service manager: a datagram socket, as systemd has it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._door.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self._door.settimeout(PATIENCE_S)

    def hear(self) -> dict[str, str]:
        """The next thing that is said, but that all is well."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while (said := self._door.recv(4_096).decode()) == "WATCHDOG=1":
            assert time.monotonic() < deadline
        return dict(line.split("=", 1) for line in said.splitlines())

    def wait_watchdog(self) -> None:
        while self._door.recv(4_096) != b"WATCHDOG=1":
            pass

    def close(self) -> None:
        self._door.close()


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
    def start(*arguments, key_files=(), faults=None, **environment):
        exchange = start_exchange(public_rate=0, key_files=key_files, faults=faults)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECONCILER_", "COINBASE_"))}
        return start_process(
            "start", "--json", "--config", str(settings()), "--base-url", exchange.url,
            "--listen", "off", "--data-dir", str(tmp_path / "data"), *arguments,
            environment={**kept, "RECONCILER_REDIS_URL": own_server.url, **environment},
        )  # fmt: skip

    return start


def reload(engine) -> None:
    engine.process.send_signal(signal.SIGHUP)


def test_newer_settings_are_taken_worker_by_worker(start_engine, settings, own_server):
    engine = start_engine()
    old = [engine.wait_event("child ready")["child"] for _ in range(2)]
    engine.wait_event("pass done", job="full_reconcile")
    settings(symbols=["BTC-USD", "ETH-USD"], gap_scan_cron="* * * * * *", batch_size=60)
    reload(engine)
    new = [engine.wait_event("child ready")["child"] for _ in range(2)]
    assert (sorted(old), sorted(new)) == (["worker-1", "worker-2"], ["worker-3", "worker-4"])
    engine.wait_event("settings taken")
    # by the new schedule, over the new symbols
    engine.wait_event("pass done", job="gap_scan")
    with redis_py.Redis.from_url(own_server.url) as client:
        assert client.zcard("candles:1:1:ETH-USD:5m")
    assert engine.stop() == 0
    assert not any("child died" in line for line in engine.read_all())


def test_a_file_that_is_wrong_is_told_in_full_and_nothing_changes(start_engine, settings):
    engine = start_engine()
    old = [engine.wait_event("child ready")["pid"] for _ in range(2)]
    settings(workers=0, symbols=["no product"], colour="red")
    reload(engine)
    faults = [engine.wait_event("settings not taken, all stays as it was")["fault"] for _ in range(3)]
    assert [
        word for word in ("workers 0", "'no product'", "colour") if not any(word in fault for fault in faults)
    ] == []
    settings(workers=3, exchange_id=2)
    reload(engine)
    faults = [engine.wait_event("settings not taken, all stays as it was")["fault"] for _ in range(2)]
    assert faults == [
        "exchange_id 2 cannot change while the engine runs; allowed: 1, or a restart",
        "workers 3 cannot change while the engine runs; allowed: 2, or a restart",
    ]
    assert all(Path(f"/proc/{pid}").exists() for pid in old)
    assert engine.stop() == 0


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_hears_how_it_stands(start_engine, settings, abstract):
    address = f"@reconciler-test-{os.getpid()}" if abstract else f"/tmp/reconciler-{os.getpid()}.sock"
    manager = Manager(address)
    try:
        engine = start_engine(NOTIFY_SOCKET=address, WATCHDOG_USEC="200000")
        # Heard from the start: a socket keeps ten words that nobody takes, and another is lost.
        assert manager.hear() == {"READY": "1", "STATUS": "at work with 2 workers"}
        worker = engine.wait_event("child ready")["pid"]
        assert "NOTIFY_SOCKET" not in Path(f"/proc/{worker}/environ").read_text()
        manager.wait_watchdog()
        before = time.monotonic_ns() // 1_000
        settings(workers=0)
        reload(engine)
        said = manager.hear()
        assert said.pop("RELOADING") == "1"
        assert before <= int(said.pop("MONOTONIC_USEC")) <= time.monotonic_ns() // 1_000
        assert manager.hear() == {"READY": "1", "STATUS": "at work; newer settings were refused"}
        engine.process.send_signal(signal.SIGTERM)
        assert manager.hear()["STOPPING"] == "1"
        assert engine.process.wait(PATIENCE_S) == 0
    finally:
        manager.close()
        if not abstract:
            Path(address).unlink()


def write_key(path: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()
    path.write_text(json.dumps({"name": name, "privateKey": text}))
    path.chmod(0o600)
    return path


def test_a_key_rotated_in_its_file_signs_from_then_on(start_engine, settings, tmp_path):
    old, new = (write_key(tmp_path / f"{name}.json", f"organizations/x/apiKeys/{name}") for name in ("old", "new"))
    key = tmp_path / "key.json"
    key.write_bytes(old.read_bytes())
    key.chmod(0o600)
    engine = start_engine("--key-file", str(key), key_files=(old, new))
    engine.wait_event("pass done", job="full_reconcile")
    key.write_bytes(new.read_bytes())
    settings(symbols=["ETH-USD"], gap_scan_cron="* * * * * *")
    reload(engine)
    engine.wait_event("settings taken")
    engine.wait_event("pass done", job="gap_scan", errors=[])
    assert engine.stop() == 0
    asked = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    pages = [(one["product"], one["key"]) for one in asked if one["path"].endswith("/candles")]
    assert set(pages) == {("BTC-USD", "organizations/x/apiKeys/old"), ("ETH-USD", "organizations/x/apiKeys/new")}


def test_a_key_put_in_order_is_tried_again_at_once_when_the_settings_are_read_again(start_engine, settings, tmp_path):
    """It was refused too often, so nothing is asked under it for an hour; HUP says that this is over."""
    key = write_key(tmp_path / "key.json", "organizations/x/apiKeys/one")
    faults = tmp_path / "faults.toml"
    faults.write_text('[[fault]]\nmode = "unauthorized"\npath = "*/candles"')
    engine = start_engine("--key-file", str(key), key_files=(key,), faults=faults)
    refused = engine.wait_event("pass done", job="full_reconcile")
    assert "exchange refused the credentials" in refused["errors"][0]
    faults.write_text("")
    settings(gap_scan_cron="* * * * * *")
    reload(engine)
    engine.wait_event("settings taken")
    # one that was under way may still have been refused
    passes = (engine.wait_event("pass done", job="gap_scan") for _ in range(5))
    assert any(one["filled"] and not one["errors"] for one in passes)
    assert engine.stop() == 0
