"""The settings as flags: one table, from which every command takes the options it needs.

Options are taken as text and checked together by the configuration, so that every fault is named at once.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as the command line shows it; a `secret` one has no flag: everybody on the machine would see it."""

    name: str
    metavar: str
    help: str
    secret: bool = False

    @property
    def flag(self) -> str:
        """Its flag, such as `--batch-size`."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"RECONCILER_{self.name.upper()}"


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("symbols", "LIST", "Product ids, such as BTC-USD,ETH-USD; or all:USD, or top:20:USD by volume."),
        Setting("timeframes", "LIST", "Timeframes, such as 1m,5m,1h. [default: 1m,5m,15m,1h,4h,1d]"),
        Setting("redis_url", "URL", "Redis or Valkey >= 6.2; unset: the embedded server in the data directory."),
        Setting("base_url", "URL", "The exchange. [default: https://api.coinbase.com]"),
        Setting("key_file", "FILE", "API key file of the exchange; unset: COINBASE_API_KEY and _SECRET, or unsigned."),
        Setting("data_dir", "FOLDER", "Folder of the embedded server and of the engine's lock."),
        Setting("workers", "N", "Worker processes. [default: 2]"),
        Setting("max_candles", "N", "Members the cache keeps a series, 0 for unlimited. [default: 1000]"),
        Setting("ttl", "SECONDS", "Life of a key the engine creates, 0 for unlimited. [default: 86400]"),
        Setting("batch_size", "N", "Requests per batch delay, over all processes. [default: 5]"),
        Setting("batch_delay_ms", "MS", "The batch delay. [default: 1000]"),
        Setting("hourly_limit", "N", "Requests an hour, 0 for unlimited; unset: 10000 with an API key, else 0."),
        Setting("egress", "NAME", "Whose budget unsigned requests share; one name per outgoing address."),
        Setting("quick_scan_window_ms", "MS", "How far back the gap scan looks. [default: 1800000]"),
        Setting("full_reconcile_window_ms", "MS", "How far back the full pass looks. [default: 21600000]"),
        Setting("gap_scan_cron", "CRON", "When the gap scan runs. [default: */5 * * * *]"),
        Setting("full_reconcile_cron", "CRON", "When the full pass runs. [default: 0 * * * *]"),
        Setting("timezone", "ZONE", "Zone of the two schedules. [default: UTC]"),
        *(
            Setting(f"{job}_{name}_ms", "MS", text)
            for job in ("gap_scan", "full_reconcile")
            for name, text in (
                ("misfire_grace", "How late its tick may still run; unset: its interval."),
                ("max_run", "When its run is ended; unset: after three intervals."),
                ("jitter", "The most its run waits after its tick. [default: 0]"),
            )
        ),
        Setting("user_id", "N", "User id in the cache's keys. [default: 1]"),
        Setting("exchange_id", "N", "Exchange id in the cache's keys. [default: 1]"),
        Setting("grace_ms", "MS", "How late a closed bar may come. [default: 15000]"),
        Setting("audit_policy", "POLICY", "A candle unlike the exchange's: report it, or repair it. [default: report]"),
        Setting(
            "rest_final_after_ms",
            "MS",
            "How long after its close a repair may replace a live candle, too; 0: never. [default: 0]",
        ),
        Setting(
            "full_reconcile_verify",
            "WHAT",
            "What the full pass audits: the spare slots of the pages it asks for anyway (spare), or every slot of its "
            "window (all): a request per series and 300 slots, seven per symbol with the defaults. [default: spare]",
        ),
        Setting("listen", "ADDRESS", "HOST:PORT of probes, metrics and pages, or off; unset: 127.0.0.1:9464."),
        Setting("listen_hosts", "LIST", "Names beside its own by which this machine may be asked for pages."),
        Setting("listen_token", "TOKEN", "What requests for pages must bear.", secret=True),
    )
}

_EVERYWHERE = ("redis_url", "data_dir", "user_id", "exchange_id", "max_candles", "ttl")
_PASS = (
    "symbols",
    "timeframes",
    "base_url",
    "key_file",
    "batch_size",
    "batch_delay_ms",
    "hourly_limit",
    "egress",
    "full_reconcile_window_ms",
    "grace_ms",
    "audit_policy",
    "rest_final_after_ms",
    "full_reconcile_verify",
)
_PASS_ALONE = ("symbols", "timeframes", "full_reconcile_window_ms", "full_reconcile_verify")
LOAD_SETTINGS = _EVERYWHERE
PASS_SETTINGS = (*_PASS, *_EVERYWHERE)
BACKFILL_SETTINGS = (
    *(name for name in _PASS if name not in _PASS_ALONE),
    *_EVERYWHERE,
)
JOURNAL_SETTINGS = ("symbols", "timeframes", "base_url", *_EVERYWHERE)
EVIDENCE_SETTINGS = ("base_url", "grace_ms", *_EVERYWHERE)
START_SETTINGS = tuple(SETTINGS)


def takes_settings(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of these settings and `--config`.

    The command gets them as `flags`: values by setting name, as text, those alone that were given; and `config`: the
    path of the settings file or None.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in inspect.signature(command, eval_str=True).parameters.values() if one.name not in _GIVEN]
        flagged = [name for name in names if not SETTINGS[name].secret]
        added = [_parameter(SETTINGS[name]) for name in flagged]

        @functools.wraps(command)
        def with_settings(**arguments: Any) -> None:
            flags = {name: value for name in flagged if (value := arguments.pop(name)) is not None}
            command(flags=flags, config=arguments.pop("config"), **arguments)

        with_settings.__signature__ = inspect.Signature([*own, *added, _CONFIG])  # type: ignore[attr-defined]
        with_settings.__annotations__ = {one.name: one.annotation for one in (*own, *added, _CONFIG)}
        return with_settings

    return decorate


def _parameter(setting: Setting) -> inspect.Parameter:
    option = typer.Option(setting.flag, metavar=setting.metavar, help=setting.help, rich_help_panel="Settings")
    annotation = Annotated[str | None, option]
    return inspect.Parameter(setting.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_GIVEN = ("flags", "config")
_CONFIG = inspect.Parameter(
    "config",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        str | None,
        typer.Option("--config", metavar="FILE", help="Settings file (TOML). Flags and RECONCILER_<NAME> go first."),
    ],
)

Json = Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")]
Symbol = Annotated[str, typer.Argument(metavar="SYMBOL", help="Product id, such as BTC-USD.")]
TimeframeName = Annotated[str, typer.Argument(metavar="TIMEFRAME", help="Timeframe, such as 5m.")]
_TIMES = "ISO 8601, UTC unless it names an offset: 2026-01-31 or 2026-01-31T13:00"
FromTime = Annotated[str | None, typer.Option("--from", metavar="TIME", help=f"First instant; {_TIMES}.")]
ToTime = Annotated[str | None, typer.Option("--to", metavar="TIME", help="First instant after the range.")]
