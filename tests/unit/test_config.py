"""The settings' model: every fault at once, each with field, value, origin and what is allowed."""

from __future__ import annotations

import math

import pytest

from reconciler_engine.config import DEFAULT_RECONCILIATION_CONFIG, ReconciliationConfig
from reconciler_engine.errors import ConfigError
from reconciler_engine.limiting.budget import Budget
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.audit import AuditRules

ORIGIN = "reconciler.toml"
COUNTS = (
    "workers",
    "max_candles",
    "ttl",
    "batch_size",
    "batch_delay_ms",
    "quick_scan_window_ms",
    "full_reconcile_window_ms",
    "user_id",
    "exchange_id",
    "grace_ms",
    "settle_ms",
    "max_unverified_ms",
)
NO_ZERO = (
    *("workers", "batch_size", "batch_delay_ms", "quick_scan_window_ms", "full_reconcile_window_ms"),
    *("settle_ms", "max_unverified_ms"),
)


def faults_of(**settings: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        ReconciliationConfig.check(settings, dict.fromkeys(settings, ORIGIN))
    return caught.value.faults


def fault_of(**settings: object) -> str:
    (fault,) = faults_of(**settings)
    return fault


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize(
    "value",
    [-1, "-1", 0.5, math.nan, math.inf, "nan", "inf", True, "true", "", " ", "1e3", "0x10", "٣", 10**30, None, [1], {}],
    ids=repr,
)
def test_what_is_no_count_is_refused(field, value):
    fault = fault_of(**{field: value})
    assert fault.startswith(f"{field} {value!r} (from {ORIGIN}): allowed: ")
    assert any(map(str.isdigit, fault.partition("allowed: ")[2]))


@pytest.mark.parametrize("field", NO_ZERO)
def test_zero_is_refused_where_it_has_no_meaning(field):
    assert fault_of(**{field: 0}).startswith(f"{field} 0 (from {ORIGIN}): allowed: ")


def test_a_delay_in_which_redis_could_hardly_answer_is_refused():
    assert fault_of(batch_delay_ms=49).endswith("allowed: milliseconds, a whole number 50 to 3600000")


@pytest.mark.parametrize("field", [field for field in COUNTS if field not in NO_ZERO])
def test_zero_is_taken_where_it_has_one(field):
    assert getattr(ReconciliationConfig.check({field: 0}), field) == 0


def test_a_value_without_end_is_not_repeated_to_its_end():
    fault = fault_of(workers="9" * 5_000)
    assert "(5002 characters)" in fault
    assert len(fault) < 400


@pytest.mark.parametrize(
    "name",
    ["../../etc", "BTC", "btc-usd", "BTC_USD", "BTC-USD\n", "BTC-٣", "BTC-USD/../x", "-USD", "BTC-", "A-B-C-D-E", ""],
)
def test_what_is_no_product_id_is_refused(name):
    fault = fault_of(symbols=["ETH-USD", name])
    assert fault.startswith(f"symbols ['ETH-USD', {name!r}] (from {ORIGIN}): allowed: one or more product ids")
    assert f"symbol {name!r} is not a product id" in fault
    assert "'ETH-USD' is no" not in fault


def test_every_wrong_name_of_a_list_is_named():
    fault = fault_of(symbols="btc-usd,ETH-USD,../x,btc-usd")
    assert fault.count("'btc-usd' is not a product id") == 1
    assert "'../x' is not a product id" in fault
    fault = fault_of(timeframes="1m,3m,5m,1M")
    assert "timeframe '3m' is not supported; allowed: 1m, 5m, 15m, 30m, 1h, 2h, 4h, 6h, 1d" in fault
    assert "timeframe '1M' is not supported" in fault
    assert "'5m' is not" not in fault


@pytest.mark.parametrize("value", [1, None, [1], {"BTC-USD": 1}, [["BTC-USD"]]], ids=repr)
def test_what_is_no_list_of_names_is_refused(value):
    assert fault_of(symbols=value).startswith(f"symbols {value!r} (from {ORIGIN}): allowed: one or more product ids")


@pytest.mark.parametrize("value", ["", [], " , "], ids=repr)
def test_empty_symbols_are_a_fault_where_some_are_needed(value):
    settings = {"symbols": value}
    assert ReconciliationConfig.check(settings).symbols == ()
    with pytest.raises(ConfigError, match=r"^symbols is empty \(from --symbols\): allowed: one or more product ids"):
        ReconciliationConfig.check(settings, {"symbols": "--symbols"}, needs_symbols=True)
    with pytest.raises(ConfigError, match=r"^symbols is empty: allowed"):
        ReconciliationConfig.check({}, needs_symbols=True)


def test_empty_timeframes_are_always_a_fault():
    assert fault_of(timeframes="").startswith(f"timeframes '' (from {ORIGIN}): allowed: one or more of 1m")


@pytest.mark.parametrize("field", ["gap_scan_cron", "full_reconcile_cron"])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has 0 fields"),
        ("every minute", "has 2 fields"),
        ("60 * * * *", "'60'"),
        ("* * * * * * *", "has 7 fields"),
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6 *", "never fires"),
        ("*/0 * * * *", "'0'"),
    ],
)
def test_a_cron_expression_that_cannot_fire_is_refused(field, text, why):
    fault = fault_of(**{field: text})
    assert fault.startswith(f"{field} {text!r} (from {ORIGIN}): allowed: a cron expression of five or six fields")
    assert why in fault


@pytest.mark.parametrize("value", ["", "a\0b"], ids=repr)
def test_a_data_dir_that_names_no_folder_is_refused(value):
    assert fault_of(data_dir=value).startswith(f"data_dir {value!r} (from {ORIGIN}): allowed: folder")


def test_an_unknown_setting_is_named_with_its_neighbour_or_all_that_exist():
    assert fault_of(symbls="BTC-USD") == f"symbls (from {ORIGIN}): unknown setting; did you mean symbols?"
    fault = fault_of(settings={"workers": 2})
    assert fault.startswith(
        f"settings (from {ORIGIN}): unknown setting; allowed: redis_url, redis_ca_file, redis_address_map, "
    )


@pytest.mark.parametrize(
    "value",
    [
        "http://user:canary@host",
        "redis://[canary",
        {"password": "canary"},
        7,
        "",
        "canary",
    ],
    ids=repr,
)
def test_a_redis_url_is_never_repeated(value):
    fault = fault_of(redis_url=value)
    assert fault.startswith(
        f"redis_url <hidden> (from {ORIGIN}): allowed: redis://, redis+cluster:// or redis+sentinel:// URL"
    )
    assert "canary" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "https://user:canary@host",
        "https://canary@host",
        "https://user:can/canary@host",
        "https:/user:canary@host",
        "https://host/?key=canary",
        "https://host/#canary",
    ],
)
def test_a_base_url_that_may_hold_a_secret_is_not_repeated(url):
    fault = fault_of(base_url=url)
    assert fault.startswith(f"base_url <hidden> (from {ORIGIN}): allowed: https:// or http:// URL")
    assert "canary" not in fault


@pytest.mark.parametrize("url", ["ftp://host", "https://host/path", "https://host:99999", "host", "https://"])
def test_a_base_url_of_another_form_is_refused(url):
    assert fault_of(base_url=url).startswith(f"base_url {url!r} (from {ORIGIN}): allowed: https:// or http:// URL")


def test_a_window_past_retention_is_refused_with_the_arithmetic_and_its_origin():
    assert fault_of(full_reconcile_window_ms=86_400_000, timeframes="1m,1h") == (
        f"full_reconcile_window_ms (from {ORIGIN}) 86400000: 1m needs max(86400000 / 60000, 3) = 1440 closed candles, "
        "but max_candles 1000 keeps 998 beside the forming and the settling one; "
        "allowed: at most 59880000, or a larger max_candles, or 0 for unlimited"
    )
    assert ReconciliationConfig.check({"full_reconcile_window_ms": 86_400_000, "max_candles": 0}).max_candles == 0


def test_only_windows_that_are_used_must_fit():
    settings = {"max_candles": 10, "timeframes": "1m"}
    assert ReconciliationConfig.check(settings, windows=()).max_candles == 10
    with pytest.raises(ConfigError) as caught:
        ReconciliationConfig.check(settings, windows=("full_reconcile_window_ms",))
    assert [fault.split()[0] for fault in caught.value.faults] == ["full_reconcile_window_ms"]


def test_a_cache_that_cannot_hold_three_bars_is_refused():
    for count in (1, 4):
        fault = fault_of(max_candles=count, timeframes="1d")
        assert fault.startswith(f"max_candles {count} (from {ORIGIN}): allowed: candles to keep of each series, 0 for")
        assert "else a whole number 5 to" in fault
    assert ReconciliationConfig.check({"max_candles": 5, "timeframes": "1d"}).max_candles == 5


def test_every_fault_is_named_at_once():
    faults = faults_of(
        workers=0,
        symbols="../x",
        gap_scan_cron="0 0 30 2 *",
        full_reconcile_window_ms=86_400_000,
        timeframes=["1m"],
        base_url="ftp://x",
        redis_url="http://canary",
        tll=5,
        ttl=math.nan,
    )
    assert sorted(fault.split()[0] for fault in faults) == [
        "base_url", "full_reconcile_window_ms", "gap_scan_cron", "redis_url", "symbols", "tll", "ttl", "workers",
    ]  # fmt: skip


def test_faults_do_not_hide_a_window_that_is_no_number_itself():
    faults = faults_of(quick_scan_window_ms="soon", full_reconcile_window_ms=86_400_000, timeframes=["1m"])
    assert [fault.split()[0] for fault in faults] == ["quick_scan_window_ms", "full_reconcile_window_ms"]


def test_texts_of_flags_and_variables_are_read():
    config = ReconciliationConfig.check(
        {"symbols": " BTC-USD , ETH-USD,BTC-USD", "timeframes": "5m,1m,5m", "workers": " 3 ", "data_dir": "/srv/x"}
    )
    assert config.workers == 3
    assert str(config.data_dir) == "/srv/x"
    assert config.series() == [
        Series(symbol, timeframe)
        for symbol in ("BTC-USD", "ETH-USD")
        for timeframe in (Timeframe.M5, Timeframe.M1)
    ]  # fmt: skip


def test_defaults_are_the_originals():
    config = DEFAULT_RECONCILIATION_CONFIG
    assert (config.user_id, config.exchange_id) == (1, 1)
    assert (config.quick_scan_window_ms, config.full_reconcile_window_ms) == (1_800_000, 21_600_000)
    assert (config.batch_size, config.batch_delay_ms) == (5, 1_000)
    assert ReconciliationConfig.check({}) == config


def test_no_text_of_a_configuration_shows_the_redis_url():
    config = ReconciliationConfig.check({"redis_url": "redis://:canary@host"})
    assert "canary" not in f"{config!r} {config}"
    assert config.redis_url == "redis://:canary@host"


def test_a_key_has_an_hourly_limit_unless_another_is_set():
    config = ReconciliationConfig.check({})
    assert config.budget(signed=True) == Budget(5, 1_000, 10_000)
    assert config.budget(signed=False) == Budget(5, 1_000)
    for signed in (True, False):
        assert ReconciliationConfig.check({"hourly_limit": 0}).budget(signed=signed).hourly is None
        assert ReconciliationConfig.check({"hourly_limit": "600"}).budget(signed=signed).hourly == 600


@pytest.mark.parametrize("value", [1, -1, "many", True])
def test_an_hourly_limit_that_cannot_be_paced_is_refused(value):
    assert fault_of(hourly_limit=value).startswith(f"hourly_limit {value!r} (from {ORIGIN}): allowed: requests an hour")


@pytest.mark.parametrize("value", ["", "a b", "x" * 65, "a:b", "a}b", "büro"])
def test_an_egress_that_is_no_name_is_refused(value):
    assert fault_of(egress=value).startswith(f"egress {value!r} (from {ORIGIN}): allowed: name of this machine's")


@pytest.mark.parametrize("value", ["Nope/Zone", "", "../etc/passwd", "europe/berlin\0"])
def test_an_unknown_zone_is_refused(value):
    fault = fault_of(timezone=value)
    assert fault.startswith(f"timezone {value!r} (from {ORIGIN}): allowed: IANA name of the time zone")
    assert "is unknown" in fault


@pytest.mark.parametrize("job", ["gap_scan", "full_reconcile"])
@pytest.mark.parametrize(("bound", "value"), [("misfire_grace", -1), ("max_run", 0), ("jitter", "1s")])
def test_a_jobs_bounds_are_checked(job, bound, value):
    field = f"{job}_{bound}_ms"
    assert fault_of(**{field: value}).startswith(f"{field} {value!r} (from {ORIGIN}): allowed: ")


@pytest.mark.parametrize(
    ("field", "allowed"), [("audit_policy", "report or repair"), ("full_reconcile_verify", "spare or all")]
)
@pytest.mark.parametrize("value", ["", "REPAIR", "everything", None, True, 1, ["all"]], ids=repr)
def test_what_is_no_choice_of_an_audit_is_refused(field, allowed, value):
    assert fault_of(**{field: value}).startswith(f"{field} {value!r} (from {ORIGIN}): allowed: {allowed}")


def test_an_answer_is_final_after_ten_minutes_or_later():
    fault = fault_of(settle_ms=599_999)
    assert fault.startswith(f"settle_ms 599999 (from {ORIGIN}): allowed: milliseconds, a whole number 600000 to")
    config = ReconciliationConfig.check({"settle_ms": "900000", "audit_policy": "report"})
    assert config.audit_rules == AuditRules(repairs=False, settle_ms=900_000)
    assert DEFAULT_RECONCILIATION_CONFIG.audit_rules == AuditRules(repairs=True, settle_ms=600_000)


@pytest.mark.parametrize("name", ["settle_ms", "rest_final_after_ms"])
def test_never_to_repair_is_a_policy_and_not_an_age(name):
    assert fault_of(**{name: 0}).endswith("(to repair nothing, set audit_policy = report)")


def test_a_former_name_is_taken_for_the_setting():
    assert ReconciliationConfig.check({"rest_final_after_ms": "700000"}).settle_ms == 700_000
    assert fault_of(rest_final_after_ms=1).startswith(f"settle_ms 1 (from {ORIGIN}): allowed: ")
    assert fault_of(rest_final_after_ms=700_000, settle_ms=800_000) == (
        f"rest_final_after_ms (from {ORIGIN}): old name of settle_ms, which is set, too; allowed: settle_ms"
    )


def test_bars_are_verified_no_sooner_than_ten_minutes_after_they_settle():
    assert ReconciliationConfig.check({"max_unverified_ms": 1_200_000}).max_unverified_ms == 1_200_000
    assert fault_of(max_unverified_ms=1_199_999).startswith(
        f"max_unverified_ms 1199999 (from {ORIGIN}): allowed: milliseconds, a whole number from settle_ms + 600000 to"
    )
    fault = fault_of(settle_ms=3_600_000)
    assert fault.startswith("max_unverified_ms 1800000: allowed: ")
    assert fault.endswith(f"(settle_ms is 3600000 (from {ORIGIN}): at least 4200000)")
    # one fault a field: how long a bar takes to settle is not known
    assert [fault.split()[0] for fault in faults_of(max_unverified_ms=0, settle_ms="x")] == ["settle_ms"]


@pytest.mark.parametrize("value", [0, -0.1, 1.01, math.nan, math.inf, "nan", True, "", "half", None, [1]], ids=repr)
def test_what_is_no_share_of_the_budget_is_refused(value):
    fault = fault_of(verify_share=value)
    assert fault.startswith(f"verify_share {value!r} (from {ORIGIN}): allowed: a number above 0, at most 1")


@pytest.mark.parametrize("value", [1, "1", 0.001, "0.5"], ids=repr)
def test_a_share_of_the_budget_may_be_all_of_it(value):
    assert ReconciliationConfig.check({"verify_share": value}).verify_share == float(value)
