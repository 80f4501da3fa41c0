"""Where settings come from, which source wins, and what each source can get wrong."""

from __future__ import annotations

from types import SimpleNamespace

import click
import pytest

from reconciler_engine.cli import setting_sources
from reconciler_engine.cli.config import _in_words, template
from reconciler_engine.cli.manual import PAGES
from reconciler_engine.cli.options import LOAD_SETTINGS, PASS_SETTINGS, START_SETTINGS
from reconciler_engine.cli.setting_sources import child_environment, load_config
from reconciler_engine.cli.start import start
from reconciler_engine.config import DEFAULT_RECONCILIATION_CONFIG, ReconciliationConfig
from reconciler_engine.config.definitions import SETTINGS
from reconciler_engine.errors import ConfigError


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """The environment as the settings see it; empty at first."""
    variables: dict[str, str] = {}
    monkeypatch.setattr(setting_sources, "os", SimpleNamespace(environ=variables))
    return variables


@pytest.fixture
def write_file(tmp_path):
    def write(text: str | bytes) -> str:
        path = tmp_path / "reconciler.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def faults_of(flags=None, config_file=None, **named):
    with pytest.raises(ConfigError) as caught:
        load_config(flags or {}, config_file, **named)
    return caught.value.faults


def test_the_flags_are_the_models_fields():
    assert set(SETTINGS) == set(ReconciliationConfig.model_fields)
    assert {*LOAD_SETTINGS, *PASS_SETTINGS, *START_SETTINGS} == set(SETTINGS)
    assert all(setting.flag == f"--{name.replace('_', '-')}" for name, setting in SETTINGS.items())
    assert all(setting.variable == f"RECONCILER_{name.upper()}" for name, setting in SETTINGS.items())


def test_the_defaults_shown_are_the_models():
    shown = {
        name: setting.help.partition("[default: ")[2].removesuffix("]")
        for name, setting in SETTINGS.items()
        if "[default: " in setting.help
    }
    held = {name: getattr(DEFAULT_RECONCILIATION_CONFIG, name) for name in SETTINGS}
    expected = {
        name: ",".join(value) if isinstance(value, tuple) else str(value).lower() if value is False else str(value)
        for name, value in held.items()
        if value not in (None, ())
    }
    assert shown == expected


def test_each_setting_is_described_once():
    """The model, the options, `config init` and the manual say what the one definition says."""
    options = {option.name: option for option in start.params if isinstance(option, click.Option)}
    begun = " ".join(line.removeprefix("# ") for line in template().splitlines() if line.startswith("# "))
    for name, field in ReconciliationConfig.model_fields.items():
        setting = SETTINGS[name]
        assert (field.default, field.description) == (setting.default, setting.allowed)
        assert (name in options) is setting.has_flag
        assert not setting.has_flag or options[name].help == setting.help
        assert f"{setting.explanation} Allowed: {setting.allowed}." in begun
        assert _in_words(name, None) == (setting.unset or "-")


def test_the_manuals_table_is_that_of_the_definitions():
    rows = [
        f"| `{one.name}` | {f'`{one.default_text}`' if one.default_text else one.unset} | {one.meaning} |"
        for one in SETTINGS.values()
    ]
    table = "\n".join(["| setting | default | |", "|---|---|---|", *rows])
    assert PAGES["settings"].read_text("utf-8").endswith(f"\n\n{table}\n"), f"write there:\n{table}"


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(environment, write_file):
    path = write_file("workers = 3\nttl = 30\nbatch_size = 7\n")
    environment.update(RECONCILER_TTL="40", RECONCILER_BATCH_SIZE="8")
    config = load_config({"batch_size": "9"}, path)
    assert (config.batch_size, config.ttl, config.workers, config.user_id) == (9, 40, 3, 1)


def test_a_former_name_is_taken_from_every_source_and_named_by_its_fault(environment, write_file):
    path = write_file("rest_final_after_ms = 700000\nmax_unverified_ms = 9000000\n")
    assert load_config({}, path).settle_ms == 700_000
    environment["RECONCILER_REST_FINAL_AFTER_MS"] = "800000"
    assert load_config({}, path).settle_ms == 800_000
    environment["RECONCILER_REST_FINAL_AFTER_MS"] = "0"
    assert faults_of({}, path)[0].startswith("settle_ms '0' (from RECONCILER_REST_FINAL_AFTER_MS): allowed: ")
    environment.clear()
    path = write_file("rest_final_after_ms = 0")
    assert faults_of({}, path)[0].startswith(f"settle_ms 0 (from rest_final_after_ms in {path}): allowed: ")
    environment.update(RECONCILER_REST_FINAL_AFTER_MS="800000", RECONCILER_SETTLE_MS="700000")
    (fault,) = faults_of()
    assert fault.startswith("rest_final_after_ms (from RECONCILER_REST_FINAL_AFTER_MS): old name of settle_ms, ")


def test_a_former_flag_is_one_of_the_settings():
    (option,) = (one for one in start.params if one.name == "settle_ms")
    assert option.opts == ["--settle-ms", "--rest-final-after-ms"]


def test_a_commands_own_defaults_give_way_to_everything(environment, write_file):
    environment["RECONCILER_TIMEFRAMES"] = "1h"
    config = load_config({}, write_file("workers = 3"), overrides={"timeframes": ("1m",), "workers": 1, "ttl": 5})
    assert (config.timeframes, config.workers, config.ttl) == (("1h",), 3, 5)


def test_the_file_may_be_named_by_a_variable_and_a_flag_names_another(environment, write_file, tmp_path):
    environment["RECONCILER_CONFIG"] = write_file("workers = 3")
    assert load_config({}, None).workers == 3
    other = tmp_path / "other.toml"
    other.write_text("workers = 4")
    assert load_config({}, str(other)).workers == 4


def test_every_source_is_named_by_its_faults(environment, write_file):
    path = write_file("workers = 0\nbatchsize = 5\n")
    environment.update(RECONCILER_TTL="soon", RECONCILER_WORKER="2", RECONCILER_Z="1")
    faults = faults_of({"symbols": "btc"}, path, needs_symbols=True, known_faults=["--from 'x': no time"])
    assert faults[0] == "--from 'x': no time"
    assert "RECONCILER_WORKER: unknown setting in the environment; did you mean RECONCILER_WORKERS?" in faults
    assert any(one.startswith("RECONCILER_Z: unknown setting in the environment; allowed: ") for one in faults)
    assert f"batchsize (from {path}): unknown setting; did you mean batch_size?" in faults
    assert any(one.startswith(f"workers 0 (from {path}): allowed: ") for one in faults)
    assert any(one.startswith("ttl 'soon' (from RECONCILER_TTL): allowed: ") for one in faults)
    assert any(one.startswith("symbols 'btc' (from --symbols): allowed: ") for one in faults)
    assert len(faults) == 7


def test_settings_in_a_table_are_no_settings(write_file):
    path = write_file("[settings]\nworkers = 2\n[workers]\nn = 2\n")
    faults = faults_of({}, path)
    assert any(one.startswith(f"settings (from {path}): unknown setting") for one in faults)
    assert any(one.startswith(f"workers {{'n': 2}} (from {path}): allowed: ") for one in faults)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("workers =", "Invalid value"),
        ("workers = 1\nworkers = 2", "Cannot overwrite a value"),
        (b"symbols = '\xff'", "codec can't decode"),
        ("workers = " + "9" * 5_000, "integer string conversion"),
        ("workers = " + "[" * 100_000, "recursion"),
    ],
    ids=["cut", "twice", "bytes", "digits", "nesting"],
)
def test_what_is_no_toml_is_refused(write_file, text, why):
    path = write_file(text)
    (fault,) = faults_of({}, path)
    assert fault.startswith(f"config {path}: is not TOML: ")
    assert why in fault


def test_a_file_is_never_cut_short(write_file):
    path = write_file("workers = 3\n" + "#" * 1_048_576 + "\nttl = 0\n")
    assert faults_of({}, path) == (f"config {path}: is larger than allowed: at most 1048576 bytes",)


def test_a_file_that_cannot_be_read_is_named_beside_other_faults(tmp_path):
    faults = faults_of({"workers": "0"}, str(tmp_path / "none.toml"))
    assert faults[0] == f"config {tmp_path}/none.toml: cannot be read: No such file or directory"
    assert faults[1].startswith("workers '0' (from --workers)")
    assert faults_of({}, str(tmp_path)) == (f"config {tmp_path}: cannot be read: Is a directory",)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:canary@host",
        "redis://user:canary@host",
        "unix://:canary@/run/redis.sock",
        "redis://host?password=canary",
        "rediss://host?ssl_password=canary",
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(url):
    faults = faults_of({"redis_url": url})
    assert any("(from --redis-url): a password on a command line is visible" in fault for fault in faults)
    assert any("allowed: the same URL in RECONCILER_REDIS_URL or in the settings file" in fault for fault in faults)
    assert "canary" not in "".join(faults)


def test_a_proxys_password_on_the_command_line_is_refused_and_not_repeated(environment):
    (fault,) = faults_of({"proxy": "http://user:canary@proxy"})
    assert fault.startswith("proxy (from --proxy): a password on a command line is visible")
    (fault,) = faults_of({"proxy": "socks5://canary"})
    assert fault.startswith("proxy <hidden> (from --proxy): allowed: http:// or https:// URL of a proxy")
    environment["RECONCILER_PROXY"] = "http://user:canary@proxy"
    assert load_config({}, None).route.proxy is not None


def test_a_password_elsewhere_is_taken(environment, write_file):
    environment["RECONCILER_REDIS_URL"] = "redis://:canary@host"
    assert load_config({}, None).redis_url == "redis://:canary@host"
    environment.clear()
    assert load_config({}, write_file('redis_url = "redis://:canary@host"')).redis_url == "redis://:canary@host"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:canary@host:99999", "port must be a number from 1 to 65535"),
        ("redis://:canary@host/first", "database must be a number"),
        ("redis://:canary@host#x", "a fragment"),
        ("redis://:canary@host?tls=1", "unknown option in the query"),
        ("redis://canary@host", "a user name needs a password"),
        ("unix://canary", "three slashes"),
        ("rediss://:canary@host?ssl_ca_certs=/none", "ssl_ca_certs '/none'"),
        ("redis://:canary@[host", "allowed: redis://"),
        ("redis://:can/canary@host", "port must be a number"),
    ],
)
def test_a_redis_url_of_another_form_is_refused_before_anything_starts(environment, url, why):
    environment["RECONCILER_REDIS_URL"] = url
    (fault,) = faults_of({})
    assert fault.startswith("redis_url <hidden> (from RECONCILER_REDIS_URL): ")
    assert why in fault
    assert "canary" not in fault
    environment.clear()
    assert "canary" not in "".join(faults_of({"redis_url": url}))


def test_what_does_not_go_with_a_simulation_is_named_with_all_other_faults(environment):
    environment["RECONCILER_BASE_URL"] = "https://api.coinbase.com"
    flags = {"redis_url": "redis://host", "workers": "0"}
    faults = faults_of(flags, refused=("redis_url", "base_url"))
    assert [fault.split(":")[0] for fault in faults] == [
        "redis_url (from --redis-url) does not go with --simulate",
        "base_url (from RECONCILER_BASE_URL) does not go with --simulate",
        "workers '0' (from --workers)",
    ]


def test_children_get_no_setting_and_no_secret(environment):
    environment.update(
        PATH="/bin", RECONCILER_REDIS_URL="redis://:canary@host", COINBASE_KEY="canary", RECONCILER_PURE_PYTHON="1"
    )
    assert child_environment() == {"PATH": "/bin", "RECONCILER_PURE_PYTHON": "1"}


@pytest.mark.parametrize("service", ["RECONCILER", "RECONCILER_ENGINE", "RECONCILER_REDIS"])
def test_the_addresses_that_kubernetes_sets_for_a_service_are_no_settings(environment, service):
    environment.update(
        {
            f"{service}_SERVICE_HOST": "10.0.0.7",
            f"{service}_SERVICE_PORT": "9464",
            f"{service}_SERVICE_PORT_HTTP": "9464",
            f"{service}_PORT": "tcp://10.0.0.7:9464",
            f"{service}_PORT_9464_TCP": "tcp://10.0.0.7:9464",
            f"{service}_PORT_9464_TCP_PROTO": "tcp",
            f"{service}_PORT_9464_TCP_PORT": "9464",
            f"{service}_PORT_9464_TCP_ADDR": "10.0.0.7",
        }
    )
    assert load_config({}, None) == DEFAULT_RECONCILIATION_CONFIG
    environment[f"{service}_PORT"] = "9464"
    (fault,) = faults_of({})
    assert fault.startswith(f"{service}_PORT: unknown setting in the environment; ")
    assert len(fault) < 120


def test_many_unknown_variables_are_told_in_few_lines(environment):
    environment.update({f"RECONCILER_X{number}": "1" for number in range(5_000)})
    faults = faults_of({})
    assert len(faults) == 11
    assert faults[-1] == "RECONCILER_...: 4990 more unknown settings in the environment"


def test_a_thousand_wrong_names_are_told_by_the_first_and_their_number(environment):
    environment["RECONCILER_SYMBOLS"] = ",".join(f"wrong{number}" for number in range(1_000))
    (fault,) = faults_of({})
    assert fault.endswith("; and 980 more)")
    assert len(fault) < 5_000


def test_a_byte_order_mark_before_the_settings_is_passed_over(write_file):
    assert load_config({}, write_file(b"\xef\xbb\xbfworkers = 3\n")).workers == 3


def test_many_unknown_keys_are_told_in_few_lines(write_file):
    path = write_file("".join(f"k{number} = 1\n" for number in range(90_000)) + f"{'x' * 5_000} = 1\n")
    faults = faults_of({}, path)
    assert len(faults) == 11
    assert faults[-1] == f"89991 more unknown settings (from {path})"
    assert max(map(len, faults)) < 1_000


@pytest.mark.parametrize(
    "text",
    ["a" + ".a" * 100_000 + " = 1", "[" + "a" + ".a" * 100_000 + "]", ("a" + ".a" * 200 + " = 1\n") * 500],
    ids=["key", "table", "lines"],
)
def test_keys_of_endless_dots_are_refused_before_they_are_read(write_file, text):
    path = write_file(text)
    assert faults_of({}, path) == (
        f"config {path}: has more dots than any settings; allowed: a key of the settings a line",
    )
