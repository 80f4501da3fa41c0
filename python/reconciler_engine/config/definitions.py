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
            "How late its tick may still run",
            f"how late a tick may still run, a whole number of milliseconds 0 to {_LONGEST}; unset is the interval",
            unset="its interval",
            example=interval_ms,
        ),
        _ms(
            f"{name}_max_run_ms",
            "When its run is ended",
            f"when a run is ended, a whole number of milliseconds 1 to {_LONGEST}; unset is three intervals",
            unset="three intervals",
            example=3 * interval_ms,
        ),
        _ms(
            f"{name}_jitter_ms",
            "The most its run waits after its tick",
            f"the most a run waits after its tick, a whole number of milliseconds 0 to {_LONGEST}",
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
        "Certificate authorities for Redis over TLS (PEM), such as a private one's; by default those of this machine",
        "path of a PEM file with certificate authorities; unset means those of this machine",
        unset="those of this machine",
        example="/etc/reconciler/redis-ca.pem",
    ),
    _list(
        "redis_address_map",
        "Addresses to use in place of those that a cluster or a Sentinel announces, where they cannot be "
        "reached: 10.0.0.1:6379=localhost:7000, or 10.0.0.1=localhost for all ports",
        "pairs HOST:PORT=HOST:PORT or HOST=HOST, announced before reached, none or more",
        default=(),
    ),
    _name(
        "redis_sentinel_username",
        "User of the Sentinels, where they have users of their own",
        "name of a user of the Sentinels; unset is their default user",
        unset="their default user",
        example="reconciler",
    ),
    _secret(
        "redis_sentinel_password",
        "Password of the Sentinels, where they ask for one; environment or file only",
        "password of the Sentinels, at least one character; unset where they ask for none",
        metavar="PASSWORD",
        example="a-password-of-theirs",
    ),
    _url(
        "base_url",
        "The exchange",
        "https:// or http:// URL of the exchange, no path, query or password",
        default="https://api.coinbase.com",
    ),
    _list(
        "symbols",
        "Product ids, such as BTC-USD,ETH-USD; or all:USD, or top:20:USD by volume",
        "one product id or more, such as BTC-USD,ETH-USD, or choices such as all:USD or top:20:USD",
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
        "API key file of the exchange; without one COINBASE_API_KEY and COINBASE_API_SECRET, or unsigned",
        "path of the exchange's API key file as downloaded, mode 0600; unset asks unsigned",
        example="cdp_api_key.json",
    ),
    _file(
        "ca_file",
        "Certificate authorities (PEM) by which the exchange is trusted",
        "path of a PEM file of certificate authorities, for the exchange alone; unset trusts the public ones",
        unset="the public ones",
        example="/etc/ssl/private-ca.pem",
    ),
    _url(
        "proxy",
        "HTTP proxy by which the exchange is reached, unless it is on this machine; those of the environment "
        "are not used",
        "http:// or https:// URL of a proxy, for the exchange alone; a user and a password may stand in it; "
        "unset goes out directly",
        example="http://user:password@proxy.example:3128",
        hidden=True,
    ),
    _number("workers", "Worker processes", "worker processes, a whole number from 1 to 64", default=2),
    Setting(
        "data_dir",
        "Folder of the embedded server and of the engine's lock",
        "folder of the embedded server's data and the engine's lock",
        metavar="FOLDER",
        unset="~/.local/share/reconciler-engine",
        example="/var/lib/reconciler-engine",
    ),
    _number(
        "max_candles",
        "Members the cache keeps a series, 0 for unlimited",
        "members the cache keeps a series, 0 for unlimited, else a whole number 5 to 100000000",
        default=1_000,
    ),
    Setting(
        "ttl",
        "Life of a key the engine creates, prolonged where one is set, 0 for unlimited; keys of layout "
        "exchange have none",
        "life of a key in seconds, 0 for unlimited, else a whole number 1 to 3153600000",
        metavar="SECONDS",
        default=86_400,
    ),
    _number(
        "batch_size",
        "Requests per batch delay, over all processes",
        "requests per batch_delay_ms, a whole number 1 to 1000",
        default=5,
    ),
    _ms("batch_delay_ms", "The batch delay", "milliseconds, a whole number 50 to 3600000", default=1_000),
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
        "Whose budget unsigned requests share; one name per outgoing address",
        "name of the address from which unsigned requests go out, 1 to 64 of A-Z a-z 0-9 . _ -; "
        "machines of one name share a budget",
        example="office",
    ),
    _ms("quick_scan_window_ms", "How far back the gap scan looks, at least three bars", _WINDOW, default=1_800_000),
    _ms(
        "full_reconcile_window_ms", "How far back the full pass looks, at least three bars", _WINDOW, default=21_600_000
    ),
    _number(
        "window_bars",
        "How many of the newest bars the full pass looks at, and of the newest members, whatever its window",
        "newest bars and members of each series, a whole number 3 to 10000",
        default=300,
    ),
    _cron(
        "gap_scan_cron", "When the gap scan runs: five fields, or six with seconds first", _CRON, default="*/5 * * * *"
    ),
    _cron("full_reconcile_cron", "When the full pass runs", _CRON, default="0 * * * *"),
    Setting(
        "timezone",
        "Zone of the schedules",
        "IANA name of the zone the cron expressions are meant in, such as Europe/Berlin",
        metavar="ZONE",
        default="UTC",
    ),
    *_job("gap_scan", 300_000),
    *_job("full_reconcile", 3_600_000),
    Setting(
        "layout",
        "The feeder's layout of candle keys: each user's own (user), one for all users of an exchange "
        "(exchange), or one user's beside those (overflow)",
        "user, exchange or overflow",
        metavar="LAYOUT",
        default="user",
    ),
    Setting(
        "allow_other_layout",
        "Whether a series is filled although readers look at it in another layout",
        "true or false",
        metavar="BOOL",
        default=False,
    ),
    _number(
        "announce_close",
        "A repair among so many of the newest closed bars is also announced on the feeder's channel of closed "
        "bars, with the newest one, so that indicators compute anew; 0: never",
        "newest closed bars, a whole number 0 to 10000; 0 announces repairs on their own channel alone",
        default=0,
    ),
    _number("user_id", "User id in the cache's keys", _KEY_PART, default=1),
    _number("exchange_id", "Exchange id in the cache's keys", _KEY_PART, default=1),
    _ms(
        "grace_ms",
        "How late a closed bar may come",
        "milliseconds a closed bar may be late, 0 to 600000",
        default=DEFAULT_GRACE_MS,
    ),
    Setting(
        "audit_policy",
        "A candle unlike the exchange's: repair it, or only report it",
        "report or repair",
        metavar="POLICY",
        default="repair",
    ),
    _ms(
        "settle_ms",
        "From when on after its close the exchange's bar is final: only then is a bar compared, repaired and "
        "verified; the old name rest_final_after_ms is taken for one more version",
        f"milliseconds, a whole number {RIPE_MS} to {_LONGEST}",
        default=DEFAULT_SETTLE_MS,
        former="rest_final_after_ms",
    ),
    _ms(
        "max_unverified_ms",
        "How long after its close a bar may be unverified: bars are compared with the exchange's before, and "
        "`ready` says no because of older ones",
        f"milliseconds, a whole number from settle_ms + {VERIFY_TIME_MS} to {_LONGEST}",
        default=DEFAULT_MAX_UNVERIFIED_MS,
    ),
    _share(
        "completeness_slo",
        "Share of closed bars that is to be complete within 20 minutes of their close, and verified within "
        "max_unverified_ms: `status`, pages and metrics tell what is left of its error budget",
        "a number from 0.5, below 1",
        default=0.999,
    ),
    _share(
        "verify_share",
        "Share of the budget that verification may take, of the smaller of its rate and its hourly limit",
        "a number above 0, at most 1",
        default=0.25,
    ),
    Setting(
        "scrub_days",
        "Days within which every candle that is kept for good (max_candles = 0) is compared again, the oldest "
        "verification first; 0 never compares a verified candle again",
        "a whole number of days 0 to 3650; 0 means never",
        metavar="DAYS",
        default=DEFAULT_SCRUB_DAYS,
    ),
    _cron("verify_cron", "When the verify run starts", _CRON, default="* * * * *"),
    Setting(
        "full_reconcile_verify",
        "What the full pass compares beside what it asks for anyway: nothing (spare), or every slot of its "
        "window (all), as one-shot commands do with `--verify all`; taken for one more version, since the verify run "
        "compares every bar",
        "spare or all",
        metavar="WHAT",
        default="spare",
    ),
    Setting(
        "listen",
        "HOST:PORT of probes, metrics and pages of `start`, or off",
        "HOST:PORT of probes, metrics and pages, an IP address or localhost, port 0 for any free one; a "
        "PORT of 127.0.0.1; or off; unset is 127.0.0.1:9464, or any free port where that is taken",
        metavar="ADDRESS",
        unset="127.0.0.1:9464",
        example="127.0.0.1:9464",
    ),
    _list(
        "listen_hosts",
        "Names beside its own by which this machine may be asked for pages",
        "names beside its own by which this machine may be asked for pages, none or more",
        default=(),
    ),
    _secret(
        "listen_token",
        "What requests for pages must bear; environment or file only",
        "what requests for pages must bear (Authorization: Bearer ...), 16 to 256 visible ASCII characters; "
        "needed where listen is not loopback",
        metavar="TOKEN",
        example="a-long-random-text-of-your-own",
    ),
    _secret(
        "webhook_url",
        "Where `start` posts alerts, a JSON object at the beginning and at the end of each; environment or file only",
        "https:// or http:// URL that takes posts; unset posts nothing",
        metavar="URL",
        example="https://hooks.example/reconciler",
    ),
    _secret(
        "webhook_secret",
        "Secret that signs each post, by HMAC-SHA256 over its body; environment or file only",
        "secret that signs posts, 16 to 256 visible ASCII characters; unset leaves them unsigned",
        metavar="SECRET",
        example="another-long-random-text",
    ),
    _ms(
        "alert_after_ms",
        "How long a series is not ready before that is posted",
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
