"""The one definition of each setting: it feeds the model, options' help, README, `config init` and `config show`.

Help reads this file, so it imports nothing that validates.
"""

from __future__ import annotations

from collections.abc import Mapping
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
"""Time that verification has at least, from the instant at which a bar is final."""

_T = TypeVar("_T")

_LONGEST: Final = "10000000000000"
_CRON: Final = "a cron expression of five or six fields that can fire"
_WINDOW: Final = f"milliseconds, a whole number 60000 to {_LONGEST}"
_KEY_PART: Final = "a whole number 0 to 9007199254740992, as in the cache's keys"


def _job(name: str, interval_ms: int) -> tuple[Setting, ...]:
    """Describe the settings that each job has; its examples are those of a job with this interval."""
    return (
        Setting(
            name=f"{name}_misfire_grace_ms",
            metavar="MS",
            meaning="How late its tick may still run",
            allowed=f"how late a tick may still run, a whole number of milliseconds 0 to {_LONGEST}; "
            "unset is the interval",
            unset="its interval",
            example=interval_ms,
        ),
        Setting(
            name=f"{name}_max_run_ms",
            metavar="MS",
            meaning="When its run is ended",
            allowed=f"when a run is ended, a whole number of milliseconds 1 to {_LONGEST}; unset is three intervals",
            unset="three intervals",
            example=3 * interval_ms,
        ),
        Setting(
            name=f"{name}_jitter_ms",
            metavar="MS",
            meaning="The most its run waits after its tick",
            allowed=f"the most a run waits after its tick, a whole number of milliseconds 0 to {_LONGEST}",
            default=0,
        ),
    )


_ALL: Final = (
    Setting(
        name="redis_url",
        metavar="URL",
        meaning="Redis or Valkey >= 6.2: redis://host:6379, unix:///path, redis+cluster://host:7000,host:7001, or "
        "redis+sentinel://host:26379,host:26379/SERVICE/DB; rediss for TLS",
        allowed="redis://, redis+cluster:// or redis+sentinel:// URL, each also as rediss, or unix:// URL, of servers "
        "of version 6.2 or newer; unset means the embedded server in the data directory",
        unset="embedded server",
        example="redis://user:password@localhost:6379/0",
        hidden=True,
    ),
    Setting(
        name="redis_ca_file",
        metavar="FILE",
        meaning="Certificate authorities for Redis over TLS (PEM), such as a private one's; by default those of this "
        "machine",
        allowed="path of a PEM file with certificate authorities; unset means those of this machine",
        unset="those of this machine",
        example="/etc/reconciler/redis-ca.pem",
    ),
    Setting(
        name="redis_address_map",
        metavar="LIST",
        meaning="Addresses to use in place of those that a cluster or a Sentinel announces, where they cannot be "
        "reached: 10.0.0.1:6379=localhost:7000, or 10.0.0.1=localhost for all ports",
        allowed="pairs HOST:PORT=HOST:PORT or HOST=HOST, announced before reached, none or more",
        default=(),
    ),
    Setting(
        name="redis_sentinel_username",
        metavar="NAME",
        meaning="User of the Sentinels, where they have users of their own",
        allowed="name of a user of the Sentinels; unset is their default user",
        unset="their default user",
        example="reconciler",
    ),
    Setting(
        name="redis_sentinel_password",
        metavar="PASSWORD",
        meaning="Password of the Sentinels, where they ask for one; environment or file only",
        allowed="password of the Sentinels, at least one character; unset where they ask for none",
        example="a-password-of-theirs",
        hidden=True,
        has_flag=False,
    ),
    Setting(
        name="base_url",
        metavar="URL",
        meaning="The exchange",
        allowed="https:// or http:// URL of the exchange, no path, query or password",
        default="https://api.coinbase.com",
    ),
    Setting(
        name="symbols",
        metavar="LIST",
        meaning="Product ids, such as BTC-USD,ETH-USD; or all:USD, or top:20:USD by volume",
        allowed="one product id or more, such as BTC-USD,ETH-USD, or choices such as all:USD or top:20:USD",
        default=(),
    ),
    Setting(
        name="timeframes",
        metavar="LIST",
        meaning="Timeframes, such as 1m,5m,1h",
        allowed=f"one or more of {', '.join(member.value for member in Timeframe)}",
        default=("1m", "5m", "15m", "1h", "4h", "1d"),
    ),
    Setting(
        name="key_file",
        metavar="FILE",
        meaning="API key file of the exchange; without one COINBASE_API_KEY and COINBASE_API_SECRET, or unsigned",
        allowed="path of the exchange's API key file as downloaded, mode 0600; unset asks unsigned",
        example="cdp_api_key.json",
    ),
    Setting(
        name="ca_file",
        metavar="FILE",
        meaning="Certificate authorities (PEM) by which the exchange is trusted",
        allowed="path of a PEM file of certificate authorities, for the exchange alone; unset trusts the public ones",
        unset="the public ones",
        example="/etc/ssl/private-ca.pem",
    ),
    Setting(
        name="proxy",
        metavar="URL",
        meaning="HTTP proxy by which the exchange is reached, unless it is on this machine; those of the environment "
        "are not used",
        allowed="http:// or https:// URL of a proxy, for the exchange alone; a user and a password may stand in it; "
        "unset goes out directly",
        example="http://user:password@proxy.example:3128",
        hidden=True,
    ),
    Setting("workers", "N", "Worker processes", "worker processes, a whole number from 1 to 64", 2),
    Setting(
        name="data_dir",
        metavar="FOLDER",
        meaning="Folder of the embedded server and of the engine's lock",
        allowed="folder of the embedded server's data and the engine's lock",
        unset="~/.local/share/reconciler-engine",
        example="/var/lib/reconciler-engine",
    ),
    Setting(
        name="max_candles",
        metavar="N",
        meaning="Members the cache keeps a series, 0 for unlimited",
        allowed="members the cache keeps a series, 0 for unlimited, else a whole number 5 to 100000000",
        default=1_000,
    ),
    Setting(
        name="ttl",
        metavar="SECONDS",
        meaning="Life of a key the engine creates, prolonged where one is set, 0 for unlimited; keys of layout "
        "exchange have none",
        allowed="life of a key in seconds, 0 for unlimited, else a whole number 1 to 3153600000",
        default=86_400,
    ),
    Setting(
        name="batch_size",
        metavar="N",
        meaning="Requests per batch delay, over all processes",
        allowed="requests per batch_delay_ms, a whole number 1 to 1000",
        default=5,
    ),
    Setting("batch_delay_ms", "MS", "The batch delay", "milliseconds, a whole number 50 to 3600000", 1_000),
    Setting(
        name="hourly_limit",
        metavar="N",
        meaning="Requests an hour, 0 for unlimited",
        allowed="requests an hour, a whole number 2 to 100000000, or 0 for unlimited; unset is "
        f"{SIGNED_HOURLY_LIMIT} with an API key and unlimited without",
        unset=f"{SIGNED_HOURLY_LIMIT} with an API key, else 0",
        example=SIGNED_HOURLY_LIMIT,
    ),
    Setting(
        name="egress",
        metavar="NAME",
        meaning="Whose budget unsigned requests share; one name per outgoing address",
        allowed="name of the address from which unsigned requests go out, 1 to 64 of A-Z a-z 0-9 . _ -; "
        "machines of one name share a budget",
        example="office",
    ),
    Setting("quick_scan_window_ms", "MS", "How far back the gap scan looks, at least three bars", _WINDOW, 1_800_000),
    Setting(
        name="full_reconcile_window_ms",
        metavar="MS",
        meaning="How far back the full pass looks, at least three bars",
        allowed=_WINDOW,
        default=21_600_000,
    ),
    Setting(
        name="window_bars",
        metavar="N",
        meaning="How many of the newest bars the full pass looks at, and of the newest members, whatever its window",
        allowed="newest bars and members of each series, a whole number 3 to 10000",
        default=300,
    ),
    Setting(
        "gap_scan_cron", "CRON", "When the gap scan runs: five fields, or six with seconds first", _CRON, "*/5 * * * *"
    ),
    Setting("full_reconcile_cron", "CRON", "When the full pass runs", _CRON, "0 * * * *"),
    Setting(
        name="timezone",
        metavar="ZONE",
        meaning="Zone of the schedules",
        allowed="IANA name of the zone the cron expressions are meant in, such as Europe/Berlin",
        default="UTC",
    ),
    *_job("gap_scan", 300_000),
    *_job("full_reconcile", 3_600_000),
    Setting(
        name="layout",
        metavar="LAYOUT",
        meaning="The feeder's layout of candle keys: each user's own (user), one for all users of an exchange "
        "(exchange), or one user's beside those (overflow)",
        allowed="user, exchange or overflow",
        default="user",
    ),
    Setting(
        name="allow_other_layout",
        metavar="BOOL",
        meaning="Whether a series is filled although readers look at it in another layout",
        allowed="true or false",
        default=False,
    ),
    Setting(
        name="announce_close",
        metavar="N",
        meaning="A repair among so many of the newest closed bars is also announced on the feeder's channel of closed "
        "bars, with the newest one, so that indicators compute anew; 0: never",
        allowed="newest closed bars, a whole number 0 to 10000; 0 announces repairs on their own channel alone",
        default=0,
    ),
    Setting("user_id", "N", "User id in the cache's keys", _KEY_PART, 1),
    Setting("exchange_id", "N", "Exchange id in the cache's keys", _KEY_PART, 1),
    Setting(
        name="grace_ms",
        metavar="MS",
        meaning="How late a closed bar may come",
        allowed="milliseconds a closed bar may be late, 0 to 600000",
        default=DEFAULT_GRACE_MS,
    ),
    Setting(
        name="audit_policy",
        metavar="POLICY",
        meaning="A candle unlike the exchange's: repair it, or only report it",
        allowed="report or repair",
        default="repair",
    ),
    Setting(
        name="settle_ms",
        metavar="MS",
        meaning="From when on after its close the exchange's bar is final: only then is a bar compared, repaired and "
        "verified; the old name rest_final_after_ms is taken for one more version",
        allowed=f"milliseconds, a whole number {RIPE_MS} to {_LONGEST}",
        default=DEFAULT_SETTLE_MS,
        former="rest_final_after_ms",
    ),
    Setting(
        name="max_unverified_ms",
        metavar="MS",
        meaning="How long after its close a bar may be unverified: bars are compared with the exchange's before, and "
        "`ready` says no because of older ones",
        allowed=f"milliseconds, a whole number from settle_ms + {VERIFY_TIME_MS} to {_LONGEST}",
        default=DEFAULT_MAX_UNVERIFIED_MS,
    ),
    Setting(
        name="completeness_slo",
        metavar="SHARE",
        meaning="Share of closed bars that is to be complete within 20 minutes of their close, and verified within "
        "max_unverified_ms: `status`, pages and metrics tell what is left of its error budget",
        allowed="a number from 0.5, below 1",
        default=0.999,
    ),
    Setting(
        name="verify_share",
        metavar="SHARE",
        meaning="Share of the budget that verification may take, of the smaller of its rate and its hourly limit",
        allowed="a number above 0, at most 1",
        default=0.25,
    ),
    Setting(
        name="scrub_days",
        metavar="DAYS",
        meaning="Days within which every candle that is kept for good (max_candles = 0) is compared again, the oldest "
        "verification first; 0 never compares a verified candle again",
        allowed="a whole number of days 0 to 3650; 0 means never",
        default=DEFAULT_SCRUB_DAYS,
    ),
    Setting("verify_cron", "CRON", "When the verify run starts", _CRON, "* * * * *"),
    Setting(
        name="full_reconcile_verify",
        metavar="WHAT",
        meaning="What the full pass compares beside what it asks for anyway: nothing (spare), or every slot of its "
        "window (all), as one-shot commands do with `--verify all`; taken for one more version, since the verify run "
        "compares every bar",
        allowed="spare or all",
        default="spare",
    ),
    Setting(
        name="listen",
        metavar="ADDRESS",
        meaning="HOST:PORT of probes, metrics and pages of `start`, or off",
        allowed="HOST:PORT of probes, metrics and pages, an IP address or localhost, port 0 for any free one; a "
        "PORT of 127.0.0.1; or off; unset is 127.0.0.1:9464, or any free port where that is taken",
        unset="127.0.0.1:9464",
        example="127.0.0.1:9464",
    ),
    Setting(
        name="listen_hosts",
        metavar="LIST",
        meaning="Names beside its own by which this machine may be asked for pages",
        allowed="names beside its own by which this machine may be asked for pages, none or more",
        default=(),
    ),
    Setting(
        name="listen_token",
        metavar="TOKEN",
        meaning="What requests for pages must bear; environment or file only",
        allowed="what requests for pages must bear (Authorization: Bearer ...), 16 to 256 visible ASCII characters; "
        "needed where listen is not loopback",
        example="a-long-random-text-of-your-own",
        hidden=True,
        has_flag=False,
    ),
    Setting(
        name="webhook_url",
        metavar="URL",
        meaning="Where `start` posts alerts, a JSON object at the beginning and at the end of each; environment or "
        "file only",
        allowed="https:// or http:// URL that takes posts; unset posts nothing",
        example="https://hooks.example/reconciler",
        hidden=True,
        has_flag=False,
    ),
    Setting(
        name="webhook_secret",
        metavar="SECRET",
        meaning="Secret that signs each post, by HMAC-SHA256 over its body; environment or file only",
        allowed="secret that signs posts, 16 to 256 visible ASCII characters; unset leaves them unsigned",
        example="another-long-random-text",
        hidden=True,
        has_flag=False,
    ),
    Setting(
        name="alert_after_ms",
        metavar="MS",
        meaning="How long a series is not ready before that is posted",
        allowed=f"milliseconds, a whole number 60000 to {_LONGEST}",
        default=900_000,
    ),
)

SETTINGS: Final = {setting.name: setting for setting in _ALL}
"""Every setting by its name, in the order of the model's fields."""

FORMER_NAMES: Final = {setting.former: setting.name for setting in _ALL if setting.former}
"""Names of settings by those of one version ago."""


def renamed(values: Mapping[str, _T]) -> dict[str, _T]:
    """Return values by setting with former names replaced; a former name stays where the new one is there, too."""
    return {name if (now := FORMER_NAMES.get(name, name)) in values else now: value for name, value in values.items()}
