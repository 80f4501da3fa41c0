"""`evidence`: list the findings about slots without a candle, and change them by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler_engine.cli.arguments import is_relative, parse_instant, parse_range, parse_series
from reconciler_engine.cli.options import (
    EVIDENCE_SETTINGS,
    Given,
    Span,
    Subcommands,
    prints,
    takes_range,
    takes_series,
    takes_settings,
)
from reconciler_engine.cli.output import Output
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval, Intervals
from reconciler_engine.market.rounding import ceil_to
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.ledger import State

if TYPE_CHECKING:
    from reconciler_engine.config import ReconciliationConfig
    from reconciler_engine.engine.evidence_edits import EvidenceEdit

_ACCEPTED = "accepted"
_MARKS = (State.EMPTY.value, State.HALTED.value, State.UNLISTED.value, _ACCEPTED)


class _ListsByDefault(Subcommands):
    """Reads `evidence BTC-USD 1m` as `evidence list BTC-USD 1m`; product ids never look like subcommands."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] != "--help" and args[0] not in self.commands:
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_ListsByDefault)
def evidence() -> None:
    """Show or change the evidence about slots without a candle.

    \b
    Examples:
      reconciler-engine evidence BTC-USD 1m
      reconciler-engine evidence mark BTC-USD 1m --state halted --from 2026-01-31T13:00 --to 2026-01-31T15:00
      reconciler-engine evidence forget BTC-USD 1m --from 2026-01-31 --to 2026-02-01
    """


@evidence.command("list")
@takes_series
@takes_range
@prints
@takes_settings(*EVIDENCE_SETTINGS)
def list_(*, symbol: str, timeframe: str, asked: Span, output: Output, given: Given) -> None:
    """List the evidence about a series: each stretch of slots with its state, reason, proofs and next check.

    \b
    Examples:
      reconciler-engine evidence BTC-USD 1m
      reconciler-engine evidence BTC-USD 1m --from 2026-01-31 --to 2026-02-01 --json

    Below are slots that are known to exist at the exchange, candles accepted by hand, fillers in slots proved empty,
    and slots repaired within a day. `evidence` without a subcommand is `evidence list`.
    """
    from reconciler_engine.cli.evidence_report import SeriesEvidence, as_object, print_evidence
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.cli.setting_sources import load_config

    faults: list[str] = []
    series = parse_series(symbol, timeframe, faults)
    range_ = parse_range(*asked, faults)
    config = load_config(*given, known_faults=faults, windows=())
    if series is None:
        raise ConfigError(faults)

    async def read(session: Session) -> SeriesEvidence:
        await session.check_symbol(series.symbol)
        store = session.parts.evidence
        late = await store.late(series)
        extent = await store.extent(series)
        if extent is None:
            return SeriesEvidence(late=late)
        step = series.timeframe.step_ms
        # Only slots that open inside the range.
        slots = extent if range_ is None else Interval(ceil_to(range_.start, step), ceil_to(range_.stop, step))
        (read,) = await store.read([(series, slots)])
        # Slots proved empty are read from the cache, too, since they may hold a filler.
        proved = read.ledger.confirmed(slots)
        kept = await session.parts.store.read([(series, one) for one in proved])
        for error in (read.error, *(one.error for one in kept)):
            if error is not None:
                raise error
        fillers = Intervals.of_slots((slot for one in kept for slot in one.fillers), step)
        return SeriesEvidence(read.known, fillers, late).within(slots)

    found = in_session(config, output, "evidence", read)
    if output.as_json:
        output.print_json(as_object(series, found))
    else:
        print_evidence(series, found, output)


@evidence.command("mark")
@takes_series
@click.option("--state", metavar="STATE", help="empty, halted, unlisted, or accepted.")
@takes_range
@prints
@takes_settings(*EVIDENCE_SETTINGS)
def mark(
    *,
    symbol: str,
    timeframe: str,
    state: str | None,
    asked: Span,
    output: Output,
    given: Given,
) -> None:
    """Declare that a range of slots has no candle at the exchange, or (accepted) that its candles are right.

    \b
    Examples:
      reconciler-engine evidence mark BTC-USD 1m --state halted --from 2026-01-31T13:00 --to 2026-01-31T15:00
      reconciler-engine evidence mark BTC-USD 1m --state accepted --from 2026-01-31T13:00 --to 2026-01-31T13:01

    Slots declared empty, halted or unlisted count as complete and are never asked for. Slots that hold a candle are
    left out, and a candle that comes later overrides the declaration. An accepted candle counts as right until it
    changes, whatever the exchange answers; slots without a candle are left out. The range begins and ends at open times
    of bars; relative times, such as -2h, are rounded down to them. The change is journalled, and `evidence forget`
    undoes it.
    """
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.engine.evidence_edits import accept_candles, mark_slots

    faults: list[str] = []
    if state not in _MARKS:
        missing = "--state is missing" if state is None else f"--state {state!r}: cannot be set by hand"
        faults.append(f"{missing}; allowed: {', '.join(_MARKS)}")
    config, series, slots = _slots(symbol, timeframe, given, asked, faults)
    if state is None:
        raise ConfigError(faults)

    async def edit(session: Session) -> EvidenceEdit:
        # Allowed for invented candles, too: their evidence stays in their own cache.
        await session.check_symbol(series.symbol)
        parts, by = session.parts, _author("evidence mark")
        now = await parts.clock.now()
        _check_kept(config, series, slots, now)
        stores = parts.store, parts.evidence, series, slots
        if state != _ACCEPTED:
            return await mark_slots(*stores, State(state), parts.retention, now, by=by)
        try:
            return await accept_candles(*stores, parts.retention, now, by=by)
        except ValueError as error:
            raise ConfigError([f"--from {iso(slots.start)} --to {iso(slots.stop)}: {error}"]) from error

    done = in_session(config, output, "evidence mark", edit)
    why = "without" if state == _ACCEPTED else "with"
    if output.as_json:
        output.print_json({"marked": done.changed, "absent" if state == _ACCEPTED else "present": done.left_out})
    else:
        left = f"; {counted(done.left_out, 'slot')} {why} a candle left out" if done.left_out else ""
        output.print_line(f"{series}: {counted(done.changed, 'slot')} marked {state}{left}")


@evidence.command("forget")
@takes_series
@takes_range
@prints
@takes_settings(*EVIDENCE_SETTINGS)
def forget(*, symbol: str, timeframe: str, asked: Span, output: Output, given: Given) -> None:
    """Forget the evidence about a range of slots, so that those without a candle are asked for again. Journalled.

    \b
    Examples:
      reconciler-engine evidence forget BTC-USD 1m --from 2026-01-31 --to 2026-02-01

    The range begins and ends at open times of bars; relative times, such as -2h, are rounded down to them.
    """
    from reconciler_engine.cli.session import Session, in_session
    from reconciler_engine.engine.evidence_edits import forget_slots

    config, series, slots = _slots(symbol, timeframe, given, asked, [])

    async def edit(session: Session) -> EvidenceEdit:
        await session.check_symbol(series.symbol)
        parts, by = session.parts, _author("evidence forget")
        now = await parts.clock.now()
        return await forget_slots(parts.evidence, series, slots, parts.retention, now, by=by)

    done = in_session(config, output, "evidence forget", edit)
    if output.as_json:
        output.print_json({"forgotten": done.changed})
    else:
        output.print_line(f"{series}: {counted(done.changed, 'slot')} forgotten")


def _slots(
    symbol: str, timeframe: str, given: Given, asked: Span, faults: list[str]
) -> tuple[ReconciliationConfig, Series, Interval]:
    """Return the settings, the series, and the interval of slots to change, whose bounds are open times of bars.

    A relative time, such as `-2h`, is rounded down to the open time of the bar that contains it.

    Raises:
        ConfigError: An argument or a setting is faulty; names each fault, those in `faults` included.
    """
    from reconciler_engine.cli.setting_sources import load_config

    series = parse_series(symbol, timeframe, faults)
    bounds = [parse_instant(flag, text, faults) for flag, text in (("--from", asked.start), ("--to", asked.stop))]
    if not faults and series is not None:
        step = series.timeframe.step_ms
        # A relative time is seldom an open time, so it stands for that of the bar that contains it.
        bounds = [
            instant - instant % step if is_relative(text) else instant
            for instant, text in zip(bounds, asked, strict=True)
        ]
        for flag, instant in zip(("--from", "--to"), bounds, strict=True):
            before = instant - instant % step
            if before != instant:
                allowed = f"{iso(before, 'seconds')} or {iso(before + step, 'seconds')}"
                faults.append(f"{flag} {iso(instant, 'seconds')}: no {timeframe} bar opens there; allowed: {allowed}")
        if bounds[0] >= bounds[1]:
            faults.append(f"--to {asked.stop}: lies not after --from {asked.start}; allowed: a later time")
    config = load_config(*given, known_faults=faults, windows=())
    if series is None:
        raise ConfigError(faults)
    return config, series, Interval(*bounds)


def _check_kept(config: ReconciliationConfig, series: Series, slots: Interval, now: int) -> None:
    """Refuse slots that have not closed, and slots so old that the cache drops their candles and evidence.

    Raises:
        ConfigError: A slot is refused; names the allowed range.
    """
    from reconciler_engine.planning.window import closed_before, history_fault

    closed = closed_before(now, series.timeframe, config.grace_ms)
    faults = [history_fault(str(series), slots, now, series.timeframe, config.max_candles)]
    if slots.stop > closed:
        faults.append(f"--to {iso(slots.stop)}: bars from {iso(closed)} on have not closed; allowed: {iso(closed)}")
    found = [fault for fault in faults if fault is not None]
    if found:
        raise ConfigError(found)


def _author(command: str) -> str:
    """Return the author to be journalled for a change: the command and the user's name."""
    import getpass

    try:
        return f"{command}, {getpass.getuser()}"
    except (KeyError, OSError):
        # The user id has no name, as in a container.
        return command
