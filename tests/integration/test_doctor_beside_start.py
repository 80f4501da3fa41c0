"""`doctor` and `start` accept the same settings: one table for both."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as redis_py
from tests.integration.conftest import clean_environment

SECRET = "listen_token = 'a-token-of-sixteen-letters'"


def with_less_rights(url: str) -> str:
    """Return the URL of a user that lacks one command of those that workers use."""
    with redis_py.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "weak", "on", ">pw", "~*", "&*", "+@all", "-xreadgroup")
    return url.replace("unix://", "unix://weak:pw@")


def mark_simulated(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    (folder / "SIMULATED").touch()
    return folder


def open_to_all(folder: Path) -> Path:
    folder.mkdir()
    folder.chmod(0o777)
    return folder


def settings_file(path: Path, text: str, mode: int) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def settings(request, own_server, start_exchange, taken_port, tmp_path):
    """The settings of cases: in order but for what their names say."""
    found: dict[str, object] = {
        "REDIS_URL": own_server.url,
        "SYMBOLS": "BTC-USD",
        "TIMEFRAMES": "1h",
        "BASE_URL": start_exchange(public_rate=0).url,
        "DATA_DIR": tmp_path / "data",
        "LISTEN": "off",
        "WORKERS": 1,
    }
    cases: dict[str, Callable[[], dict[str, object]]] = {
        "in order": dict,
        "a symbol among others that is unknown": lambda: {"SYMBOLS": "BTC-USD,BTC-UDS"},
        "a file with a secret that others can read": lambda: {
            "CONFIG": settings_file(tmp_path / "settings.toml", SECRET, 0o644)
        },
        "no symbols": lambda: {"SYMBOLS": ""},
        "unknown symbols alone": lambda: {"SYMBOLS": "BTC-UDS"},
        "a choice among nothing": lambda: {"SYMBOLS": "BTC-USD,all:XYZ"},
        "a port in use": lambda: {"LISTEN": f"127.0.0.1:{taken_port}"},
        "a folder that is a file": lambda: {"DATA_DIR": settings_file(tmp_path / "file", "", 0o600)},
        "a folder that others may write": lambda: {"DATA_DIR": open_to_all(tmp_path / "open")},
        "a folder of invented candles": lambda: {"REDIS_URL": None, "DATA_DIR": mark_simulated(tmp_path / "invented")},
        "a user with less rights": lambda: {"REDIS_URL": with_less_rights(own_server.url)},
        "a fault of a value": lambda: {"SETTLE_MS": 1},
    }
    for case in request.param:
        found |= cases[case]()
    return {f"RECONCILER_{name}": str(value) for name, value in found.items() if value is not None}


WARNED_OF = ("a symbol among others that is unknown", "a file with a secret that others can read")


@pytest.mark.parametrize(
    "settings", [("in order",), *((one,) for one in WARNED_OF), WARNED_OF], indirect=True, ids=" and ".join
)
def test_doctor_accepts(settings, run_inside):
    done = run_inside("doctor", "--json", **settings)
    assert (done.code, [one["name"] for one in done.json["checks"] if one["status"] == "fail"]) == (0, [])


@pytest.mark.parametrize("settings", [WARNED_OF], indirect=True, ids=" and ".join)
def test_start_accepts_both_that_doctor_warns_of(settings, start_process):
    engine = start_process("start", "--json", environment=clean_environment(**settings))
    engine.wait_event("child ready", child="worker-1")
    assert engine.stop() == 0


REFUSED = (
    "no symbols",
    "unknown symbols alone",
    "a choice among nothing",
    "a port in use",
    "a folder that is a file",
    "a folder that others may write",
    "a folder of invented candles",
    "a user with less rights",
    "a fault of a value",
)


@pytest.mark.parametrize("settings", [(one,) for one in REFUSED], indirect=True, ids=REFUSED)
def test_both_refuse(settings, run_inside):
    assert [run_inside(command, "--json", **settings).code for command in ("doctor", "start")] == [78, 78]
