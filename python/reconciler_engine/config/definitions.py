"""The definitions of all settings, used by the model, the options' help, the manual, `config init` and `config show`.

Help imports this module, so it must not import pydantic.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final, TypeVar

from reconciler_engine.config.setting import Setting
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.planning.page_ages import DEFAULT_SCRUB_DAYS
from reconciler_engine.planning.sightings import RIPE_MS
from reconciler_engine.planning.verification import DEFAULT_MAX_UNVERIFIED_MS, DEFAULT_SETTLE_MS
from reconciler_engine.planning.window import DEFAULT_GRACE_MS

SIGNED_HOURLY_LIMIT = 10_000
"""Requests an hour under one API key (documented: Coinbase App rate limiting, read 2026-11-23)."""

VERIFY_TIME_MS = 600_000
"""Shortest time for verification that settings may leave, from the instant when a bar is final."""

_T = TypeVar("_T")

_url, _file, _list, _name, _number, _ms, _cron, _share = (
    partial(Setting, metavar=metavar) for metavar in ("URL", "FILE", "LIST", "NAME", "N", "MS", "CRON", "SHARE")
)
_secret = partial(Setting, hidden=True, has_flag=False)

_LONGEST: Final = "10000000000000"
_CRON: Final = "a cron expression of five or six fields that can fire"
_WINDOW: Final = f"milliseconds, a whole number 60000 to {_LONGEST}"
_KEY_PART: Final = "a whole number 0 to 9007199254740992, as in the cache's keys"


def _job(name: str, interval_ms: int) -> tuple[Setting, ...]:
    """Return the settings that every job has, with examples for a job with this interval."""
    return (
        _ms(
            f"{name}_misfire_grace_ms",
            "Longest delay after which a late tick still runs",
            f"longest delay in milliseconds, a whole number 0 to {_LONGEST}; unset is the interval",
            unset="its interval",
            example=interval_ms,
        ),
        _ms(
            f"{name}_max_run_ms",
            "Longest time that a run may take before it is stopped",
            f"longest run in milliseconds, a whole number 1 to {_LONGEST}; unset is three intervals",
            unset="three intervals",
            example=3 * interval_ms,
        ),
        _ms(
            f"{name}_jitter_ms",
            "Longest wait between a tick and its run, below half the interval; each job waits a fixed part of it",
            f"longest wait after a tick in milliseconds, a whole number 0 to {_LONGEST}",
            default=0,
        ),
    )


_ALL: Final = (
    _url(
        "redis_url",
        "Redis or Valkey >= 6.2: redis://host:6379, unix:///path, redis+cluster://host:7000,host:7001, or "
        "redis+sentinel://host:26379,host:26379/SERVICE/DB; rediss for TLS",
        "redis://, redis+cluster:// or redis+sentinel:// URL, each also as rediss, or unix:// URL, of servers "
        "of version 6.2 or newer; unset means the embedded server in the data directory",
        unset="embedded server",
        example="redis://user:password@localhost:6379/0",
        hidden=True,
    ),
    _file(
        "redis_ca_file",
        "File of certificate authorities (PEM) that Redis over TLS is verified with",
        "path of a PEM file with certificate authorities; unset means the system's",
        unset="the system's",
        example="/etc/reconciler/redis-ca.pem",
    ),
    _list(
        "redis_address_map",
        "Reachable addresses to use instead of those that a cluster or a Sentinel announces: "
        "10.0.0.1:6379=localhost:7000, or 10.0.0.1=localhost for all ports",
        "any number of pairs HOST:PORT=HOST:PORT or HOST=HOST: announced address = reachable address",
        default=(),
    ),
    _name(
        "redis_sentinel_username",
        "User name for the Sentinels, if they require one; separate from that of Redis",
        "user name for the Sentinels; unset is the Sentinels' default user",
        unset="the default user",
        example="reconciler",
    ),
    _secret(
        "redis_sentinel_password",
        "Password for the Sentinels, if they require one; environment or file only",
        "password for the Sentinels, at least one character; unset if they require none",
        metavar="PASSWORD",
        example="the-password",
    ),
    _url(
        "base_url",
        "URL of the exchange",
        "https:// or http:// URL of the exchange, no path, query or password",
        default="https://api.coinbase.com",
    ),
    _list(
        "symbols",
        "Product ids, such as BTC-USD,ETH-USD; all:USD for all products in USD, top:20:USD for the 20 with most volume",
        "one or more product ids, such as BTC-USD,ETH-USD, or selectors, such as all:USD or top:20:USD",
        default=(),
    ),
    _list(
        "timeframes",
        "Timeframes, such as 1m,5m,1h",
        f"one or more of {', '.join(member.value for member in Timeframe)}",
        default=("1m", "5m", "15m", "1h", "4h", "1d"),
    ),
    _file(
        "key_file",
        "API key file of the exchange; default: COINBASE_API_KEY and COINBASE_API_SECRET, else requests are unsigned",
        "path of the exchange's API key file as downloaded, mode 0600",
        example="cdp_api_key.json",
    ),
    _file(
        "ca_file",
        "File of certificate authorities (PEM) that the exchange is verified with",
        "path of a PEM file of certificate authorities, only for the exchange; unset means the public ones",
        unset="the public ones",
        example="/etc/ssl/private-ca.pem",
    ),
    _url(
        "proxy",
        "HTTP proxy for requests to the exchange, unless that is on this machine; HTTPS_PROXY and the like are ignored",
        "http:// or https:// URL of a proxy, only for the exchange, with user and password if needed; "
        "unset means no proxy",
        example="http://user:password@proxy.example:3128",
        hidden=True,
    ),
    _number("workers", "Worker processes", "worker processes, a whole number from 1 to 64", default=2),
    Setting(
        "data_dir",
        "Folder of the embedded server's data and of the engine's lock",
        "folder of the embedded server's data and the engine's lock",
        metavar="FOLDER",
        unset="~/.local/share/reconciler-engine",
        example="/var/lib/reconciler-engine",
    ),
    _number(
        "max_candles",
        "Candles that the cache keeps of each series, 0 for unlimited",
        "candles to keep of each series, 0 for unlimited, else a whole number 5 to 100000000",
        default=1_000,
    ),
    Setting(
        "ttl",
        "Expiry of keys that the engine creates, in seconds, 0 for none. Writes extend the expiry of keys that have "
        "one. Keys of layout exchange never expire",
        "seconds until a key expires, 0 for never, else a whole number 1 to 3153600000",
        metavar="SECONDS",
        default=86_400,
    ),
    _number(
        "batch_size",
        "Requests in each batch_delay_ms, by all processes together",
        "requests per batch_delay_ms, a whole number 1 to 1000",
        default=5,
    ),
    _ms("batch_delay_ms", "Period of batch_size requests", "milliseconds, a whole number 50 to 3600000", default=1_000),
    _number(
        "hourly_limit",
        "Requests an hour, 0 for unlimited",
        "requests an hour, a whole number 2 to 100000000, or 0 for unlimited; unset is "
        f"{SIGNED_HOURLY_LIMIT} with an API key and unlimited without",
        unset=f"{SIGNED_HOURLY_LIMIT} with an API key, else 0",
        example=SIGNED_HOURLY_LIMIT,
    ),
    _name(
        "egress",
        "Name of the IP address that unsigned requests come from: machines with the same name share one budget",
        "name of this machine's outgoing IP address, 1 to 64 characters of A-Z a-z 0-9 . _ -; "
        "machines with the same name share one budget",
        example="office",
    ),
    _ms("quick_scan_window_ms", "How far back the gap scan looks, at least three bars", _WINDOW, default=1_800_000),
    _ms(
        "full_reconcile_window_ms", "How far back the full pass looks, at least three bars", _WINDOW, default=21_600_000
    ),
    _number(
        "window_bars",
        "Number of newest bars, and of newest cached candles, that the full pass examines even outside its window",
        "newest bars and candles of each series, a whole number 3 to 10000",
        default=300,
    ),
    _cron(
        "gap_scan_cron", "When the gap scan runs: five fields, or six with seconds first", _CRON, default="*/5 * * * *"
    ),
    _cron("full_reconcile_cron", "When the full pass runs", _CRON, default="0 * * * *"),
    Setting(
        "timezone",
        "Time zone of the cron expressions",
        "IANA name of the time zone of the cron expressions, such as Europe/Berlin",
        metavar="ZONE",
        default="UTC",
    ),
    *_job("gap_scan", 300_000),
    *_job("full_reconcile", 3_600_000),
    Setting(
        "layout",
        "The feeder's layout of candle keys: keys of one user (user), keys shared by all users of an exchange "
        "(exchange), or keys of one user beside the shared ones (overflow)",
        "user, exchange or overflow",
        metavar="LAYOUT",
        default="user",
    ),
    Setting(
        "allow_other_layout",
        "Whether to fill a series although its readers use the keys of another layout",
        "true or false",
        metavar="BOOL",
        default=False,
    ),
    _number(
        "announce_close",
        "Announce a repair of one of this many newest closed bars also on the feeder's channel of closed bars, with "
        "the newest bar, so that indicators are recomputed; 0: never",
        "newest closed bars, a whole number 0 to 10000; 0 announces repairs only on their own channel",
        default=0,
    ),
    _number("user_id", "User id in the cache's keys", _KEY_PART, default=1),
    _number("exchange_id", "Exchange id in the cache's keys", _KEY_PART, default=1),
    _ms(
        "grace_ms",
        "How long after its close a bar may arrive before it counts as missing",
        "milliseconds, a whole number 0 to 600000",
        default=DEFAULT_GRACE_MS,
    ),
    Setting(
        "audit_policy",
        "Whether to repair candles that differ from the exchange's, or only to report them",
        "report or repair",
        metavar="POLICY",
        default="repair",
    ),
    _ms(
        "settle_ms",
        "How long after its close the exchange's bar is final; only final bars are compared, repaired and "
        "verified. The old name rest_final_after_ms is accepted for one more version",
        f"milliseconds, a whole number {RIPE_MS} to {_LONGEST}",
        default=DEFAULT_SETTLE_MS,
        former="rest_final_after_ms",
    ),
    _ms(
        "max_unverified_ms",
        "How long after its close a bar may be unverified. Verification compares bars before this time is over; a "
        "series with an older unverified bar is not ready",
        f"milliseconds, a whole number from settle_ms + {VERIFY_TIME_MS} to {_LONGEST}",
        default=DEFAULT_MAX_UNVERIFIED_MS,
    ),
    _share(
        "completeness_slo",
        "Target share of closed bars that are complete within 20 minutes of their close, and verified within "
        "max_unverified_ms; `status`, pages and metrics show what is left of its error budget",
        "a number at least 0.5 and below 1",
        default=0.999,
    ),
    _share(
        "verify_share",
        "Share of the request budget that verification may use; the budget is its rate or its hourly limit, "
        "whichever is smaller",
        "a number above 0, at most 1",
        default=0.25,
    ),
    Setting(
        "scrub_days",
        "Days within which every verified candle is compared again if candles are kept for good (max_candles = 0), "
        "the oldest verification first; 0: never",
        "a whole number of days 0 to 3650; 0 means never",
        metavar="DAYS",
        default=DEFAULT_SCRUB_DAYS,
    ),
    _cron("verify_cron", "When the verify run starts", _CRON, default="* * * * *"),
    Setting(
        "full_reconcile_verify",
        "What the full pass compares: only candles that it requests anyway (spare), or every slot of its window "
        "(all). The verify run compares every bar, so this setting is accepted for only one more version",
        "spare or all",
        metavar="WHAT",
        default="spare",
    ),
    Setting(
        "listen",
        "HOST:PORT where `start` serves probes, metrics and pages, or off",
        "HOST:PORT of probes, metrics and pages, where HOST is an IP address or localhost, and port 0 any free one; "
        "only a PORT, on 127.0.0.1; or off; unset is 127.0.0.1:9464, or any free port where that is taken",
        metavar="ADDRESS",
        unset="127.0.0.1:9464",
        example="127.0.0.1:9464",
    ),
    _list(
        "listen_hosts",
        "Further host names, beside localhost and IP addresses, under which pages are served",
        "any number of host names under which pages are served",
        default=(),
    ),
    _secret(
        "listen_token",
        "Token that requests for pages must send; environment or file only",
        "token that requests for pages must send (Authorization: Bearer ...), 16 to 256 visible ASCII characters; "
        "required if listen is not a loopback address",
        metavar="TOKEN",
        example="a-long-random-text-of-your-own",
    ),
    _secret(
        "webhook_url",
        "URL to which `start` posts a JSON object when an alert begins and when it ends; environment or file only",
        "https:// or http:// URL that accepts POST requests; unset means no posts",
        metavar="URL",
        example="https://hooks.example/reconciler",
    ),
    _secret(
        "webhook_secret",
        "Secret that signs the body of each post (HMAC-SHA256); environment or file only",
        "secret that signs posts, 16 to 256 visible ASCII characters; unset means unsigned posts",
        metavar="SECRET",
        example="another-long-random-text",
    ),
    _ms(
        "alert_after_ms",
        "How long a series must be not ready before an alert begins",
        f"milliseconds, a whole number 60000 to {_LONGEST}",
        default=900_000,
    ),
)

SETTINGS: Final = {setting.name: setting for setting in _ALL}
"""All settings by name, in the order of the model's fields."""

FORMER_NAMES: Final = {setting.former: setting.name for setting in _ALL if setting.former}
"""Current names of settings by their names in the previous version."""


def renamed(values: Mapping[str, _T]) -> dict[str, _T]:
    """Replace former names of settings by current ones. A former name stays if the current one is also present."""
    return {name if (now := FORMER_NAMES.get(name, name)) in values else now: value for name, value in values.items()}
