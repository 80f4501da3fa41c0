"""`doctor`: each check in each of its states, and the exit code that they come to."""

from __future__ import annotations

import json
from pathlib import Path

import certifi
import pytest
import redis as redis_py
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reconciler_engine.store.embedded.data_directory import DataDirectory, ServerRecord

NAMES = [
    "configuration", "api key", "exchange", "clock", "credentials", "symbols", "redis", "topology", "persistence",
    "eviction", "latency", "layout", "retention", "budget", "verification", "disk", "embedded server", "pages",
    "webhook",
]  # fmt: skip
NOWHERE = "http://127.0.0.1:9"


def write_key(path: Path, mode: int = 0o600) -> Path:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    path.write_text(json.dumps({"name": "organizations/x/apiKeys/c0de", "privateKey": pem}))
    path.chmod(mode)
    return path


@pytest.fixture
def doctor(run_inside, tmp_path):
    """Run it over a data directory of the test's own; return the exit code and the checks by name."""

    def run(*arguments, **settings):
        given = {"RECONCILER_DATA_DIR": str(tmp_path / "data"), "RECONCILER_SYMBOLS": "BTC-USD", **settings}
        done = run_inside("doctor", "--json", *arguments, **given)
        assert done.err == ""
        assert done.json["exit_code"] == done.code
        checks = done.json["checks"]
        assert [check["name"] for check in checks] == NAMES
        # each fault comes with advice
        assert all(bool(check["hint"]) == (check["status"] in ("warn", "fail")) for check in checks)
        return done.code, {check["name"]: check for check in checks}

    return run


def statuses(checks) -> dict[str, str]:
    return {name: check["status"] for name, check in checks.items() if check["status"] != "ok"}


def test_all_is_well_with_a_key_and_a_redis(doctor, start_exchange, redis_url, tmp_path):
    key = write_key(tmp_path / "key.json")
    exchange = start_exchange(key_files=(key,))
    symbols = ("--symbols", "BTC-USD,all:USDC", "--timeframes", "1m,1h")
    code, checks = doctor("--base-url", exchange.url, "--redis-url", redis_url, "--key-file", key, *symbols)
    assert statuses(checks) == {"disk": "skipped", "embedded server": "skipped", "webhook": "skipped"}
    assert code == 0
    assert checks["api key"]["detail"] == "...c0de, ES256"
    assert checks["persistence"]["detail"] == "append-only file"
    assert checks["eviction"]["detail"] == "policy noeviction"
    assert checks["redis"]["detail"].startswith("Valkey ")
    assert checks["symbols"]["detail"] == "2 of 17 products"
    assert checks["budget"]["detail"] == (
        "4 series; an outage of an hour over all of them is 4 requests, less than a second at 2.52 a second"
    )
    assert checks["verification"]["detail"].startswith("about 10 requests an hour for 4 series, ")
    assert "again" not in checks["verification"]["detail"]
    assert [one["key"] for one in exchange.requests()] == ["organizations/x/apiKeys/c0de"]
    with redis_py.Redis.from_url(redis_url) as client:
        # the permits taken and the account of their use, and nothing else
        kinds = {key.decode().partition("}:")[2].partition(":")[0] for key in client.keys("*")}
        assert kinds == {"budget", "use"}


def test_the_way_to_the_exchange_is_told_without_its_password(doctor, tmp_path):
    authorities = tmp_path / "ca.pem"
    authorities.write_text(Path(certifi.where()).read_text())
    code, checks = doctor(
        "--base-url", "https://exchange.invalid", "--ca-file", authorities,
        RECONCILER_PROXY="http://user:canary@127.0.0.1:1",
    )  # fmt: skip
    assert code == 69
    detail = checks["exchange"]["detail"]
    way = f"(through http://***@127.0.0.1:1, certificates by {authorities})"
    assert detail.startswith(f"https://exchange.invalid {way}: exchange unavailable: no connection: ")
    assert "settings proxy and ca_file" in checks["exchange"]["hint"]
    assert "canary" not in str(checks)


def test_authorities_that_are_none_are_a_fault_of_the_configuration(doctor, tmp_path):
    code, checks = doctor("--ca-file", tmp_path / "none.pem")
    assert code == 78
    assert checks["configuration"]["detail"] == (
        f"ca_file {tmp_path / 'none.pem'}: cannot be read: No such file or directory (from --ca-file)"
    )


def test_before_the_first_start_the_exchange_is_asked_all_the_same(doctor, start_exchange, tmp_path):
    exchange = start_exchange()
    code, checks = doctor("--base-url", exchange.url, "--symbols", "BTC-USD")
    cache = dict.fromkeys(("redis", "topology", "persistence", "eviction", "latency", "layout"), "skipped")
    assert statuses(checks) == {"api key": "skipped", "credentials": "skipped", "webhook": "skipped", **cache}
    assert code == 0
    assert "no embedded server runs" in checks["redis"]["detail"]
    assert checks["disk"]["detail"].endswith(f"MiB free for {tmp_path / 'data'}")
    assert not (tmp_path / "data").exists()


def test_the_embedded_server_that_runs_is_found(doctor, start_exchange, own_server, tmp_path):
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    directory.write_record(ServerRecord(str(own_server.plan.socket), 1, "reconciler-engine start", simulated=False))
    code, checks = doctor("--base-url", start_exchange().url, "--symbols", "BTC-USD")
    assert (code, checks["redis"]["status"], checks["latency"]["status"]) == (0, "ok", "ok")


def test_a_server_that_forgets_and_a_cache_that_holds_more_are_warned_of(doctor, start_exchange, own_server):
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("appendonly", "no")
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.zadd("candles:1:1:BTC-USD:5m", {f"{number}": number for number in range(1_001)})
    where = ("--base-url", start_exchange().url, "--redis-url", own_server.url)
    code, checks = doctor(*where, "--symbols", "BTC-USD,OMG-USD")
    warned = dict.fromkeys(("symbols", "persistence", "eviction", "retention"), "warn")
    assert {name: status for name, status in statuses(checks).items() if status != "skipped"} == warned
    assert code == 0
    assert "neither append-only file nor snapshots are on" in checks["persistence"]["detail"]
    assert "policy allkeys-lru" in checks["eviction"]["detail"]
    assert "holds a series of 1001 candles, max_candles says 1000" in checks["retention"]["detail"]
    assert "no longer traded: OMG-USD" in checks["symbols"]["detail"]
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("save", "3600 1")
        # asked for a password from here on
        client.config_set("requirepass", "c4n4ry")
    wrong = own_server.url.replace("unix://", "unix://:wr0ng@")
    code, checks = doctor(*where[:2], "--symbols", "BTC-USD", RECONCILER_REDIS_URL=wrong)
    assert (code, checks["redis"]["status"]) == (78, "fail")
    assert "user or password is wrong" in checks["redis"]["detail"]
    right = own_server.url.replace("unix://", "unix://:c4n4ry@")
    code, checks = doctor(*where[:2], "--symbols", "BTC-USD", "--max-candles", 0, RECONCILER_REDIS_URL=right)
    assert (code, checks["persistence"]["status"]) == (0, "ok")
    assert checks["persistence"]["detail"].startswith("snapshots (3600 1)")
    assert checks["retention"]["detail"] == "the cache keeps every candle (max_candles 0)"
    assert not [check for check in checks.values() if "c4n4ry" in str(check) or "wr0ng" in str(check)]


def test_candles_under_other_ids_are_told(doctor, start_exchange, own_server):
    where = ("--base-url", start_exchange().url, "--redis-url", own_server.url, "--symbols", "BTC-USD")
    with redis_py.Redis.from_url(own_server.url) as client:
        client.zadd("candles:7:2:DASH-USD:1m", {"{}": 0})
        assert doctor(*where)[1]["layout"]["status"] == "ok"
        client.zadd("candles:7:2:BTC-USD:1m", {"{}": 0})
        code, checks = doctor(*where)
        assert (code, checks["layout"]["status"]) == (0, "warn")
        assert checks["layout"]["detail"].endswith("set is user; but keys begin with candles:7:2")
        assert checks["layout"]["hint"] == "set user_id, exchange_id and layout as the feeder does"
        rights = {"categories": ["+@all"], "commands": ["-scan"], "keys": ["*"], "channels": ["*"]}
        client.acl_setuser("narrow", enabled=True, passwords=["+pw"], **rights)
        narrow = own_server.url.replace("unix://", "unix://narrow:pw@")
        assert doctor(*where[:2], "--symbols", "BTC-USD", RECONCILER_REDIS_URL=narrow)[1]["layout"]["status"] == "ok"
        client.zadd("candles:1:1:BTC-USD:1m", {"{}": 0})
    assert doctor(*where)[1]["layout"]["status"] == "ok"


def test_a_replica_is_told_as_such_and_gives_no_permit(doctor, start_exchange, own_server):
    exchange = start_exchange()
    with redis_py.Redis.from_url(own_server.url) as client:
        client.replicaof("127.0.0.1", 9)
    code, checks = doctor("--base-url", exchange.url, "--redis-url", own_server.url, "--symbols", "BTC-USD")
    assert (code, checks["exchange"]["status"], checks["symbols"]["status"]) == (1, "fail", "skipped")
    assert "Redis did not grant a permit for a request" in checks["exchange"]["detail"]
    assert (checks["topology"]["status"], checks["redis"]["status"]) == ("fail", "ok")
    assert checks["topology"]["detail"] == "one server, a replica of 127.0.0.1:9: it takes no writes"
    assert checks["topology"]["hint"] == "name the primary in redis_url"
    assert exchange.log.read_text() == ""


def test_a_server_without_room_is_told_as_such_and_what_to_do(doctor, start_exchange, own_server):
    exchange = start_exchange()
    with redis_py.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", "1")
    code, checks = doctor("--base-url", exchange.url, "--redis-url", own_server.url, "--symbols", "BTC-USD")
    assert (code, checks["redis"]["status"], checks["topology"]["status"]) == (1, "fail", "ok")
    assert "its memory is full, see maxmemory" in checks["redis"]["detail"]
    assert checks["redis"]["hint"].startswith("make room for the server, in memory (maxmemory)")


def test_what_is_unavailable_comes_to_69(doctor, tmp_path):
    code, checks = doctor("--base-url", NOWHERE, "--redis-url", f"unix://{tmp_path}/none", "--symbols", "BTC-USD")
    assert code == 69
    failed = {name for name, status in statuses(checks).items() if status == "fail"}
    assert failed == {"exchange", "redis"}
    assert all(checks[name]["status"] == "skipped" for name in ("clock", "symbols", "persistence", "latency"))
    # plain symbols are known without an answer, choices are not
    assert checks["budget"]["status"] == "ok"
    _, checks = doctor("--base-url", NOWHERE, "--symbols", "BTC-USD,top:2:USD")
    assert checks["budget"]["status"] == "skipped"


def test_what_is_misconfigured_comes_to_78(doctor, start_exchange, tmp_path):
    code, checks = doctor("--workers", 0, "--batch-size", "many")
    assert code == 78
    assert checks["configuration"]["detail"].count("\n") == 1
    assert {check["status"] for name, check in checks.items() if name not in ("configuration", "api key")} == {
        "skipped"
    }
    key = write_key(tmp_path / "key.json", 0o644)
    code, checks = doctor("--base-url", start_exchange().url, "--symbols", "BTC-UDS", "--key-file", key)
    assert code == 78
    assert {name for name, status in statuses(checks).items() if status == "fail"} == {"api key", "symbols"}
    assert "has mode 0644" in checks["api key"]["detail"]
    assert "near: BTC-USD" in checks["symbols"]["detail"]
    code, checks = doctor("--base-url", "http://exchange", "--key-file", write_key(tmp_path / "b.json"))
    assert "credentials need https" in checks["api key"]["detail"]


def test_different_causes_come_to_1(doctor, tmp_path):
    code, _ = doctor("--base-url", NOWHERE, "--symbols", "BTC-USD", "--key-file", tmp_path / "none.json")
    assert code == 1


def test_a_key_the_exchange_does_not_know_is_told(doctor, start_exchange, redis_url, tmp_path):
    exchange = start_exchange(key_files=(write_key(tmp_path / "theirs.json"),))
    mine = write_key(tmp_path / "mine.json")
    code, checks = doctor("--base-url", exchange.url, "--redis-url", redis_url, "--key-file", mine)
    assert (code, checks["credentials"]["status"]) == (78, "fail")
    assert "usual causes" in checks["credentials"]["detail"]
    assert len(exchange.requests()) == 4


def test_a_clock_that_is_off_is_told(doctor, start_exchange, redis_url, tmp_path):
    key = write_key(tmp_path / "key.json")
    exchange = start_exchange(key_files=(key,), start=1_767_225_600_000)
    where = ("--base-url", exchange.url, "--redis-url", redis_url)
    code, checks = doctor(*where)
    assert (code, checks["clock"]["status"]) == (0, "warn")
    assert "behind this machine's" in checks["clock"]["detail"]
    code, checks = doctor(*where, "--key-file", key)
    # its tokens are refused as well: two causes
    assert (code, checks["clock"]["status"], checks["credentials"]["status"]) == (1, "fail", "fail")


def test_people_read_a_line_a_check_and_its_hint(run_inside, tmp_path):
    done = run_inside("doctor", "--base-url", NOWHERE, "--data-dir", tmp_path / "data")
    assert done.code == 1
    lines = done.out.splitlines()
    assert [line[9:24].strip() for line in lines if line[:4].strip() and line[8] == " "][: len(NAMES)] == NAMES
    assert lines[1].strip() == "-> set --symbols, RECONCILER_SYMBOLS or symbols in the settings file"
    assert lines[-1].endswith("skipped")
    assert "2 fail" in lines[-1]


def test_what_is_kept_for_good_is_told_with_the_requests_that_compare_it_again(doctor, start_exchange, redis_url):
    with redis_py.Redis.from_url(redis_url) as client:
        client.zadd("candles:1:1:BTC-USD:1m", {f"{number}": number for number in range(3_001)})
    exchange = start_exchange()
    kept = ("--max-candles", 0, "--timeframes", "1m", "--redis-url", redis_url, "--base-url", exchange.url)
    _, checks = doctor(*kept, "--scrub-days", 1)
    assert checks["verification"]["status"] == "ok"
    assert checks["verification"]["detail"].splitlines()[1] == (
        "11 pages kept: about 1 request an hour compare them again within 1 d; verification leaves 4496 of its share"
    )
    _, checks = doctor(*kept, "--scrub-days", 1, "--verify-share", 0.0001)
    assert checks["verification"]["status"] == "warn"
