"""Options and arguments that several commands take. Importing this module loads little more than click."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from reconciler_engine.cli.output import Output
from reconciler_engine.config.definitions import SETTINGS

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

CACHE_SETTINGS = (
    *("redis_url", "redis_ca_file", "redis_address_map", "redis_sentinel_username", "redis_sentinel_password"),
    "data_dir",
)
_EVERYWHERE = (*CACHE_SETTINGS, "layout", "allow_other_layout", "user_id", "exchange_id", "max_candles", "ttl")
_REQUESTS = (
    *("base_url", "key_file", "ca_file", "proxy", "batch_size", "batch_delay_ms", "hourly_limit", "egress"),
    *("grace_ms", "audit_policy", "settle_ms", "max_unverified_ms", "verify_share", "announce_close"),
)
LOAD_SETTINGS = _EVERYWHERE
BACKFILL_SETTINGS = (*_REQUESTS, *_EVERYWHERE)
PASS_SETTINGS = (
    "symbols",
    "timeframes",
    "full_reconcile_window_ms",
    "window_bars",
    "full_reconcile_verify",
    *BACKFILL_SETTINGS,
)
JOURNAL_SETTINGS = ("symbols", "timeframes", "base_url", *_EVERYWHERE)
INSPECT_SETTINGS = (*JOURNAL_SETTINGS, "grace_ms", "max_unverified_ms")
EVIDENCE_SETTINGS = ("base_url", "grace_ms", *_EVERYWHERE)
START_SETTINGS = tuple(SETTINGS)

# More digits than any bound needs. The interpreter refuses numbers of thousands of digits.
_MOST_DIGITS = 20
_SHOWN = 60


class Given(NamedTuple):
    """Settings given on the command line, as text.

    Attributes:
        flags: Texts of the flags, by setting name; flags that were not given are left out.
        config_file: Path of the settings file; None without `--config`.
    """

    flags: Mapping[str, str]
    config_file: str | None


def prints_script(read: Callable[[], str], help_: str) -> Decorator:
    """Give a command the flag `--script`, with which it only prints the text of a script."""

    def print_script(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            print(read(), end="")
            ctx.exit()

    return click.option("--script", is_flag=True, is_eager=True, expose_value=False, callback=print_script, help=help_)


class Subcommands(click.Group):
    """A group of subcommands, listed in the order of their definition."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names."""
        del ctx
        return list(self.commands)


def takes_settings(*names: str) -> Decorator:
    """Give a command the flags of these settings and `--config`, passed to it as `given`.

    The texts of the flags are not parsed here: the configuration checks all of them, and names every fault at once.
    """
    flagged = [SETTINGS[name] for name in names if SETTINGS[name].has_flag]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_settings(**arguments: Any) -> None:
            values = {setting.name: arguments.pop(setting.name) for setting in flagged}
            flags = {name: value for name, value in values.items() if value is not None}
            command(given=Given(flags, arguments.pop("config")), **arguments)

        decorated: Command = _config(with_settings)
        for setting in reversed(flagged):
            former = [f"--{setting.former.replace('_', '-')}"] if setting.former else []
            option = click.option(setting.flag, *former, setting.name, metavar=setting.metavar, help=setting.help)
            decorated = option(decorated)
        return decorated

    return decorate


_config = click.option("--config", metavar="FILE", help="Settings file (TOML). Flags and RECONCILER_<NAME> go first.")


def prints(command: Command) -> Command:
    """Give a command the flag `--json`, passed to it as an `Output`."""

    @functools.wraps(command)
    def with_output(*, json: bool, **arguments: Any) -> None:
        command(output=Output(as_json=json), **arguments)

    return click.option("--json", "json", is_flag=True, help="Write JSON, for programs.")(with_output)


_TIMES = "ISO 8601, UTC unless it names an offset: 2026-01-31 or 2026-01-31T13:00"
_FROM = click.option("--from", "from_", metavar="TIME", help=f"First instant; {_TIMES}.")


class Span(NamedTuple):
    """A range as given on the command line: the texts of `--from` and `--to`."""

    start: str | None
    stop: str | None


def takes_range(command: Command) -> Command:
    """Give a command the options `--from` and `--to`, passed to it as `asked`."""
    return _with_span(command, click.option("--to", metavar="TIME", help="First instant after the range."))


def takes_long_range(command: Command) -> Command:
    """Give a command names of series (`names`), a range that ends now by default (`asked`), and `--dry-run`."""
    dry_run = click.option(
        "--dry-run", is_flag=True, help="Print the number of requests and how long they take; ask and change nothing."
    )
    to = click.option("--to", metavar="TIME", help="First instant after the range. [default: now]")
    names = click.argument(
        "names",
        nargs=-1,
        metavar="[SYMBOL... TIMEFRAME...]",
        help="Product ids or choices (top:20:USD), and timeframes.",
    )
    return names(_with_span(dry_run(command), to))


def _with_span(command: Command, to: Decorator) -> Command:
    @functools.wraps(command)
    def with_span(*, from_: str | None, to: str | None, **arguments: Any) -> None:
        command(asked=Span(from_, to), **arguments)

    return _FROM(to(with_span))


def takes_series(command: Command) -> Command:
    """Give a command the arguments SYMBOL and TIMEFRAME."""
    timeframe = click.argument("timeframe", metavar="TIMEFRAME", help="Timeframe, such as 5m.")
    return click.argument("symbol", metavar="SYMBOL", help="Product id, such as BTC-USD.")(timeframe(command))


def takes_candle_files(*, required: bool = True) -> Decorator:
    """Give a command the paths of candle files (`files`) and flags with facts about the files (`hints`)."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_hints(**arguments: Any) -> None:
            from reconciler_engine.archive.hints import parse_hints

            flags = {name: arguments.pop(name) for name in _HINTS}
            command(hints=parse_hints(**flags), **arguments)

        decorated: Command = with_hints
        for name, (metavar, told) in reversed(_HINTS.items()):
            decorated = click.option(f"--{name.replace('_', '-')}", metavar=metavar, help=told)(decorated)
        return click.argument(
            "files",
            nargs=-1,
            required=required,
            type=click.Path(path_type=Path),
            metavar="FILE..." if required else "[FILE]...",
            help="CSV files, plain or gzipped; - for standard input.",
        )(decorated)

    return decorate


_HINTS = {
    "symbol": ("ID", "Product id, if file names and columns do not name it."),
    "timeframe": ("NAME", "Timeframe, if file names and columns do not name it."),
    "columns": ("KIND=NAME,...", "Columns by name, or by number if there is no header, such as time=1,open=2."),
    "time_unit": ("UNIT", "Unit of the open times: s, ms, us or ns; by default it is recognised."),
    "time_zone": ("ZONE", "Time zone of dates without one, such as UTC or Europe/Berlin."),
}


def whole(text: str) -> int | None:
    """Parse a whole number with an optional minus sign; return None for other texts and for over 20 digits."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def whole_between(low: int, high: int) -> Callable[[str | int], int]:
    """Return a parser of whole numbers from `low` to `high`, both included."""

    def parse(text: str | int) -> int:
        number = whole(str(text))
        if number is None or not low <= number <= high:
            raise click.BadParameter(f"{str(text)[:_SHOWN]!r} is not allowed; allowed: a whole number, {low} to {high}")
        return number

    return parse


def decimal(text: str | float) -> float:
    """Parse a number such as `0.5`."""
    try:
        return float(text)
    except ValueError:
        raise click.BadParameter(f"{str(text)[:_SHOWN]!r} is not allowed; allowed: a number such as 0.5") from None
