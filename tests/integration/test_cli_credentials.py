"""The operator's key: the engine signs, the simulated exchange verifies, and the key shows nowhere."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest
import redis as redis_py
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.integration.conftest import clean_environment
from tests.integration.processes import descendants, environment_of

NAME = "organizations/6b3f8e2a-0000-4000-8000-000000000000/apiKeys/9d1c7b5e-0000-4000-8000-00000000c0de"
SIGNED = "/api/v3/brokerage/products/BTC-USD/candles"


def pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


@pytest.fixture
def key_file(tmp_path):
    """Write a key file as downloaded; `edwards` is the other kind of key."""

    def write(name: str = "key.json", *, edwards: bool = False, mode: int = 0o600):
        secret = pem()
        if edwards:
            secret = base64.b64encode(ed25519.Ed25519PrivateKey.generate().private_bytes_raw()).decode()
        path = tmp_path / name
        path.write_text(json.dumps({"name": NAME, "privateKey": secret}))
        path.chmod(mode)
        return path

    return write


@pytest.fixture
def reconcile(run_inside, redis_url):
    """One pass over the newest bars of BTC-USD 1h."""

    def run(exchange, *arguments, **settings):
        return run_inside(
            "reconcile", "--symbols", "BTC-USD", "--timeframes", "1h", "--redis-url", redis_url,
            "--base-url", exchange.url, "--json", *arguments, **settings,
        )  # fmt: skip

    return run


@pytest.mark.parametrize("edwards", [False, True], ids=["ES256", "EdDSA"])
def test_a_key_file_signs_and_the_exchange_verifies(start_exchange, reconcile, key_file, redis_url, edwards):
    key = key_file(edwards=edwards)
    exchange = start_exchange(key_files=(key,))
    done = reconcile(exchange, "--key-file", key)
    assert done.code == 0, done.err
    assert done.json["filled"] == done.json["missing"] > 0
    assert {(one["path"], one["key"], one["status"]) for one in exchange.requests()} == {(SIGNED, NAME, 200)}
    with redis_py.Redis.from_url(redis_url) as client:
        (bucket,) = client.keys("*:budget:*")
    # a name of its own that is not the key's
    assert b"budget:key-" in bucket
    assert b"c0de" not in bucket


def test_the_environments_two_variables_sign_as_well(start_exchange, reconcile, key_file):
    key = key_file()
    exchange = start_exchange(key_files=(key,))
    # line ends spelled out, as such variables often are
    secret = json.loads(key.read_text())["privateKey"].replace("\n", "\\n")
    done = reconcile(exchange, COINBASE_API_KEY=NAME, COINBASE_API_SECRET=secret)
    assert done.code == 0, done.err
    assert {one["key"] for one in exchange.requests()} == {NAME}


def test_a_key_file_goes_before_the_environment(start_exchange, reconcile, key_file):
    key = key_file()
    exchange = start_exchange(key_files=(key,))
    done = reconcile(exchange, RECONCILER_KEY_FILE=str(key), COINBASE_API_KEY="another", COINBASE_API_SECRET=pem())
    assert done.code == 0, done.err
    assert {one["key"] for one in exchange.requests()} == {NAME}


def test_without_a_key_requests_are_public_and_count_for_their_address(start_exchange, reconcile, redis_url):
    exchange = start_exchange()
    assert reconcile(exchange).code == 0
    assert {one["key"] for one in exchange.requests()} == {None}
    with redis_py.Redis.from_url(redis_url) as client:
        assert [key.rpartition(b"}:")[2] for key in client.keys("*:budget*")] == [b"budget:public"]
        client.flushall()
    assert reconcile(exchange, "--egress", "office").code == 0
    with redis_py.Redis.from_url(redis_url) as client:
        assert [key.rpartition(b"}:")[2] for key in client.keys("*:budget*")] == [b"budget:egress:office"]


def test_credentials_that_are_refused_stop_with_their_usual_causes(start_exchange, reconcile, key_file):
    exchange = start_exchange(key_files=(key_file("theirs.json"),))
    mine = key_file("mine.json")
    done = reconcile(exchange, "--key-file", mine)
    assert done.code == 3
    assert done.json["filled"] == 0
    (error,) = done.json["errors"]
    assert error.startswith(
        "BTC-USD:1h: exchange refused the credentials: HTTP 401 several times in a row, so no request "
    )
    assert "usual causes: this machine's clock is off" in error
    assert len(exchange.requests()) == 4
    assert json.loads(mine.read_text())["privateKey"].split("\n")[1] not in done.out + done.err


def test_every_fault_of_settings_and_key_is_named_at_once(run_inside, key_file):
    key = key_file(mode=0o644)
    done = run_inside("start", "--symbols", "btc", "--key-file", key)
    assert done.code == 78
    assert "symbol 'btc' is not a product id" in done.err
    assert f"key file {key} has mode 0644, others can use it; allowed: 0600 and less" in done.err


@pytest.mark.parametrize("given", ["COINBASE_API_KEY", "COINBASE_API_SECRET"])
def test_half_a_key_is_refused(run_inside, given):
    secret = pem()
    done = run_inside("reconcile", "--symbols", "BTC-USD", **{given: secret})
    assert done.code == 78
    assert "COINBASE_API_KEY and COINBASE_API_SECRET go together" in done.err
    assert secret.split("\n")[1] not in done.err


def test_a_key_that_is_none_is_refused_and_not_repeated(run_inside):
    done = run_inside("reconcile", "--symbols", "BTC-USD", COINBASE_API_KEY=NAME, COINBASE_API_SECRET="c2VjcmV0")
    assert done.code == 78
    assert "COINBASE_API_KEY, COINBASE_API_SECRET: private key has an unknown form" in done.err
    assert "c2VjcmV0" not in done.err


def test_a_service_managers_folder_lends_a_key_that_a_group_can_read(run_inside, key_file, tmp_path):
    key = key_file(mode=0o440)
    settings = tmp_path / "reconciler.toml"
    settings.write_text(f'key_file = "{key}"\n')
    folder = {"CREDENTIALS_DIRECTORY": str(key.parent)}
    for command in (("config", "check", settings), ("config", "show", "--config", settings)):
        assert run_inside(*command).code == 78
        done = run_inside(*command, **folder)
        assert done.code == 0, done.err


def test_credentials_do_not_travel_over_plain_http(run_inside, key_file):
    done = run_inside("start", "--symbols", "BTC-USD", "--base-url", "http://exchange:8080", "--key-file", key_file())
    assert done.code == 78
    assert "base_url 'http://exchange:8080': credentials need https" in done.err


def test_an_invented_exchange_gets_no_key(run_inside, key_file):
    done = run_inside("start", "--simulate", "--key-file", key_file())
    assert done.code == 78
    assert "key_file (from --key-file) does not go with --simulate" in done.err


PASSWORD = "canary-of-redis-7f3a"
TOKEN = "canary-of-the-pages-91bc"
HOOK = "canary-of-the-webhook-52d0"


@pytest.fixture
def guarded_server(own_server):
    """A server that asks for a password; its URL with it."""
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("requirepass", PASSWORD)
    return own_server.url.replace("unix://", f"unix://:{PASSWORD}@")


@pytest.mark.slow
def test_workers_sign_pages_need_a_token_and_known_name_and_no_secret_shows_anywhere(
    start_process, start_exchange, run_inside, guarded_server, tmp_path, key_file
):
    """A canary in every secret setting, looked for wherever the engine leaves a word."""
    key = key_file()
    exchange = start_exchange(key_files=(key,))
    secret = json.loads(key.read_text())["privateKey"]
    settings = {
        "RECONCILER_REDIS_URL": guarded_server, "RECONCILER_LISTEN_TOKEN": TOKEN,
        "RECONCILER_WEBHOOK_URL": f"http://127.0.0.1:1/{HOOK}", "RECONCILER_WEBHOOK_SECRET": HOOK,
        "RECONCILER_PROXY": f"http://user:{PASSWORD}@proxy.invalid:3128",
        "COINBASE_API_KEY": NAME, "COINBASE_API_SECRET": secret,
    }  # fmt: skip
    engine = start_process(
        "start", "--json", "--log-level", "DEBUG", "--symbols", "BTC-USD", "--timeframes", "1h", "--workers", "1",
        "--listen", "0.0.0.0:0", "--listen-hosts", "engine.internal", "--base-url", exchange.url,
        "--data-dir", str(tmp_path / "data"),
        environment=clean_environment(**settings),
    )  # fmt: skip
    url = engine.wait_event("pages")["url"].replace("0.0.0.0", "127.0.0.1")
    done = engine.wait_event("pass done", job="full_reconcile")
    assert done["errors"] == []
    assert {one["key"] for one in exchange.requests()} == {NAME}
    # one run is one story, whichever process tells of it
    assert engine.wait_event("task done", run=done["run"])["process"] == "worker-1"
    shown = json.dumps(done)
    shown += Path(f"/proc/{engine.process.pid}/cmdline").read_text()
    for pid in descendants(engine.process.pid):
        shown += Path(f"/proc/{pid}/cmdline").read_text() + environment_of(pid)

    for host, status in (("engine.internal:80", 200), ("evil.example", 421)):
        headers = {"authorization": f"Bearer {TOKEN}", "host": host}
        assert httpx.get(f"{url}livez", headers=headers, trust_env=False, timeout=30).status_code == status
    for path in ("", "coverage", "series?name=BTC-USD:1h", "livez", "readyz", "metrics", TOKEN):
        for headers in ({"authorization": f"Bearer {TOKEN}"}, {"authorization": f"Bearer {TOKEN}x"}, {}):
            answer = httpx.get(f"{url}{path}", headers=headers, trust_env=False, timeout=30)
            assert (answer.status_code == 401) == (headers.get("authorization") != f"Bearer {TOKEN}")
            shown += answer.text + str(answer.headers)
    assert 'requests_total{endpoint="candles",outcome="ok",status="200"}' in shown

    # crashes with their tracebacks, and the telling of them
    for child in ("worker-1", "web"):
        os.kill(engine.wait_event("child ready", child=child)["pid"], signal.SIGABRT)
        engine.wait_event("child died", child=child)
    engine.wait_event("child ready", child="worker-2")
    engine.wait_event("child ready", child="web")

    with redis_py.Redis.from_url(guarded_server) as client:
        for name in client.keys("*"):
            shown += (name + (client.dump(name) or b"")).decode(errors="replace")
    for arguments in (("status",), ("config", "show"), ("config", "show", "--json"), ("start", "--workers", "0")):
        told = run_inside(*arguments, **settings)
        shown += told.out + told.err
    assert engine.stop() == 0
    said = "".join(engine.read_all())
    assert said.count("Fatal Python error: Aborted") == 2
    for path in tmp_path.rglob("*"):
        shown += path.read_text(errors="replace") if path.is_file() and path != key else ""
    assert "BTC-USD" in shown
    words = (*secret.split("\n")[1:-2], "PRIVATE KEY", "COINBASE_API_S", PASSWORD, TOKEN, HOOK)
    assert [word for word in words if word in shown + said] == []


def test_a_backfill_signs_and_chooses_as_well(start_exchange, run_inside, key_file, redis_url):
    key = key_file()
    exchange = start_exchange(key_files=(key,))

    def backfill(*arguments):
        return run_inside(
            "backfill", "all:USDC", "1h", "--from", "2026-01-01", "--to", "2026-01-02", "--max-candles", 0, "--json",
            "--redis-url", redis_url, "--base-url", exchange.url, "--key-file", key, *arguments,
        )  # fmt: skip

    early = backfill("--dry-run")
    assert early.code == 78
    assert "no product list is kept in Redis yet" in early.err
    done = backfill()
    assert (done.code, done.json["filled"]) == (0, 24), done.err
    assert {(one["path"], one["key"]) for one in exchange.requests()} == {(SIGNED.replace("-USD", "-USDC"), NAME)}
    assert backfill("--dry-run").code == 0


def test_a_process_that_reads_the_key_keeps_its_memory_to_itself():
    program = """
        import ctypes, resource
        from reconciler_engine.cli.api_key import read_credentials
        read_credentials(None, {})
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])
    """
    # as the kernel has them: PR_GET_DUMPABLE, and the limit of core dumps in bytes
    assert subprocess.check_output([sys.executable, "-c", textwrap.dedent(program)], text=True) == "0 0\n"
