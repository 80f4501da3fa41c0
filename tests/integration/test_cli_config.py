"""`config`: settings and their sources, whether a file is in order, and a file to begin with."""

from __future__ import annotations

import json
import resource
import stat
import subprocess
import tomllib
from functools import partial

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.integration.conftest import COMMAND, clean_environment

from reconciler_engine.cli.config import template
from reconciler_engine.config import DEFAULT_RECONCILIATION_CONFIG, ReconciliationConfig

SECRET = "c4n4ry-passw0rd"


@pytest.fixture
def write_file(tmp_path):
    def write(text: str, name: str = "reconciler.toml"):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    return write


@pytest.fixture
def key(write_file):
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return write_file(json.dumps({"name": "organizations/x/apiKeys/c0de", "privateKey": pem}), "key.json")


def test_show_says_every_value_and_its_origin(run_inside, write_file):
    file = write_file('symbols = ["BTC-USD", "top:3:USD"]\nworkers = 3\nbatch_size = 7\n')
    shown = run_inside(
        "config", "show", "--json", "--config", file, "--batch-size", 9, RECONCILER_WORKERS="4", XDG_DATA_HOME="/x"
    )
    assert shown.code == 0, shown.err
    settings = shown.json["settings"]
    assert list(settings) == list(ReconciliationConfig.model_fields)
    assert settings["symbols"] == {"value": ["BTC-USD", "top:3:USD"], "origin": str(file)}
    assert settings["workers"] == {"value": 4, "origin": "RECONCILER_WORKERS"}
    assert settings["batch_size"] == {"value": 9, "origin": "--batch-size"}
    assert settings["ttl"] == {"value": 86_400, "origin": "default"}
    assert settings["data_dir"] == {"value": "/x/reconciler-engine", "origin": "default"}
    assert settings["hourly_limit"]["value"] == 0
    assert shown.json["credentials"] == {"key": None, "origin": "-"}


def test_show_masks_what_is_secret(run_inside, write_file, key):
    file = write_file(f'redis_url = "rediss://user:{SECRET}@cache:6380/2"\nproxy = "http://user:{SECRET}@proxy:3128"\n')
    secret = json.loads(key.read_text())["privateKey"]
    given = {"COINBASE_API_KEY": "organizations/x/apiKeys/c0de", "COINBASE_API_SECRET": secret}
    for arguments, origin in (((), "COINBASE_API_KEY"), (("--key-file", key), "--key-file")):
        words = run_inside("config", "show", "--config", file, *arguments, **given)
        assert words.code == 0, words.err
        rows = {line.split()[0]: line.split()[1:] for line in words.out.splitlines()}
        assert rows["redis_url"] == ["rediss://***@cache:6380/2", str(file)]
        assert rows["proxy"] == ["http://***@proxy:3128", str(file)]
        assert rows["credentials"] == ["...c0de,", "ES256", origin]
        assert rows["hourly_limit"] == ["10000", "default"]
        shown = words.out + words.err + run_inside("config", "show", "--json", "--config", file, **given).out
        assert SECRET not in shown
        assert secret.split("\n")[1] not in shown


def test_show_of_what_is_wrong_names_every_fault(run_inside, write_file):
    done = run_inside("config", "show", "--config", write_file("workers = 0\nsymbls = []\n"), "--timezone", "Nope")
    assert (done.code, done.out) == (78, "")
    for text in ("workers 0", "did you mean symbols?", "timezone 'Nope'"):
        assert text in done.err


def test_a_file_in_order_is_told_so(run_inside, write_file, key):
    file = write_file(f'symbols = ["BTC-USD"]\nkey_file = "{key}"\n')
    # settings of the environment are another matter
    done = run_inside("config", "check", file, RECONCILER_WORKERS="many", COINBASE_API_KEY="half")
    assert (done.code, done.out) == (0, f"{file}: in order, 2 settings\n"), done.err
    assert run_inside("config", "check", file, "--json").json == {"file": str(file), "ok": True, "faults": []}


def test_every_fault_of_a_file_is_named(run_inside, write_file, key):
    key.chmod(0o640)
    file = write_file(
        f'symbols = []\nworkers = "many"\nredis_url = "redis://u:{SECRET}@h:99999"\nkey_file = "{key}"\n'
        'gap_scan_cron = "0 0 30 2 *"\nfull_reconcile_window_ms = 864000000\n'
    )
    done = run_inside("config", "check", file)
    assert (done.code, done.out) == (78, "")
    for text in ("symbols is empty", "workers 'many'", "gap_scan_cron", "full_reconcile_window_ms", "has mode 0640"):
        assert text in done.err
    told = run_inside("config", "check", file, "--json")
    assert told.code == 78
    assert told.json["ok"] is False
    assert [f"reconciler-engine: {fault}" for fault in told.json["faults"]] == done.err.splitlines()
    assert SECRET not in done.err + told.out


def test_a_file_that_sends_a_key_over_plain_http_is_refused(run_inside, write_file, key):
    file = write_file(f'base_url = "http://exchange"\nkey_file = "{key}"\n')
    done = run_inside("config", "check", file)
    assert done.code == 78
    assert "credentials need https" in done.err


@pytest.mark.parametrize("text", [None, "symbols = ["])
def test_what_is_no_file_is_refused(run_inside, write_file, tmp_path, text):
    done = run_inside("config", "check", tmp_path / "none.toml" if text is None else write_file(text))
    assert done.code == 78
    assert len(done.err.splitlines()) == 1


def test_init_leaves_no_half_of_a_file(tmp_path):
    file = tmp_path / "reconciler.toml"
    no_room = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (1_000, 1_000))
    done = subprocess.run(
        [COMMAND, "config", "init", file],
        # nor any half of a module's bytecode
        env=clean_environment(PYTHONDONTWRITEBYTECODE="1"),
        preexec_fn=no_room,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert not file.exists()


def test_init_writes_a_file_that_is_in_order_and_overwrites_none(run_inside, tmp_path):
    file = tmp_path / "reconciler.toml"
    done = run_inside("config", "init", file)
    assert done.code == 0, done.err
    assert done.out == f"wrote {file}; next: reconciler-engine config check {file}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run_inside("config", "check", file).code == 0
    file.write_text("workers = 4\n")
    again = run_inside("config", "init", file)
    assert again.code == 1
    assert f"{file} exists and is not overwritten" in again.err
    assert file.read_text() == "workers = 4\n"
    nowhere = tmp_path / "none" / "x.toml"
    refused = run_inside("config", "init", nowhere)
    assert refused.code == 1
    assert f"{nowhere} cannot be written (No such file or directory); {nowhere.parent} must be a folder" in refused.err
    assert run_inside("config", "init").out == template()


def test_the_file_begun_with_explains_every_setting_and_shows_the_defaults():
    text = template()
    given = tomllib.loads("\n".join(line.removeprefix("#") for line in text.splitlines() if line[:2] != "# "))
    assert list(given) == list(ReconciliationConfig.model_fields)
    config = ReconciliationConfig.check(given)
    for name, default in DEFAULT_RECONCILIATION_CONFIG:
        assert f"\n#{name} = " in text or name == "symbols"
        if default is not None and name != "symbols":
            assert getattr(config, name) == default
    assert ReconciliationConfig.check(tomllib.loads(text)).symbols == ("BTC-USD", "ETH-USD")


@pytest.mark.parametrize("command", [("show", "--config", ""), ("check", "")])
def test_a_settings_file_without_a_name_is_refused_and_not_left_out(run_inside, command):
    done = run_inside("config", *command)
    assert (done.code, done.out) == (78, "")
    assert "config '': names no file" in done.err


@pytest.mark.parametrize(("line", "mode", "code"), [
    ('redis_url = "redis://u:secret@localhost"', 0o644, 78),
    ('redis_url = "redis://u:secret@localhost"', 0o600, 0),
    ('redis_url = "redis://localhost"', 0o644, 0),
    ('listen_token = "0123456789abcdef01"', 0o640, 78),
])  # fmt: skip
def test_a_file_with_a_secret_that_others_can_read_is_a_fault(run_inside, tmp_path, line, mode, code):
    file = tmp_path / "reconciler.toml"
    file.write_text(line)
    file.chmod(mode)
    done = run_inside("config", "check", file)
    assert done.code == code, done.err
    assert ("so that others can read it; allowed: 0600" in done.err) is (code == 78)
    assert "secret@" not in done.err
