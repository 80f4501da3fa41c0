"""The answers of `evidence`: the ledger of a series told to people or programs, and changed by hand."""

from __future__ import annotations

import getpass
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import trio

from reconciler_engine.cli.connection import open_cache
from reconciler_engine.cli.journal_answer import parse_series
from reconciler_engine.cli.one_pass import parse_instant, parse_range
from reconciler_engine.cli.report import print_columns
from reconciler_engine.cli.settings import load_config
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.evidence_edits import EvidenceEdit, forget_slots, mark_slots
from reconciler_engine.engine.parts import Parts, open_parts
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.rounding import ceil_to
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.ledger import Finding, Ledger, State, Stretch
from reconciler_engine.planning.window import closed_before, history_fault
from reconciler_engine.store.evidence import EvidenceStore

_MARKS = (State.EMPTY, State.HALTED, State.UNLISTED)
_HEADS = ("from", "to", "slots", "state", "first proof", "last proof", "sightings", "next check", "reason")


class Listed(NamedTuple):
    """What is known of a series; `late` candles came after an answer without them."""

    ledger: Ledger
    late: int
    simulated: bool


def show_evidence(
    symbol: str,
    timeframe: str,
    flags: dict[str, str],
    config_file: str | None,
    from_: str | None,
    to: str | None,
    *,
    as_json: bool,
) -> None:
    """Print the ledger of a series, all of it or that of a range.

    Raises:
        ConfigError: An argument or a setting is out of order.
        StoreError: Redis did not do its part.
    """
    faults: list[str] = []
    series = parse_series(symbol, timeframe, faults)
    asked = parse_range(from_, to, faults)
    config = load_config(flags, config_file, known_faults=faults, windows=())
    if series is None:
        raise ConfigError(faults)
    listed = trio.run(_list, config, series, asked)
    step = series.timeframe.step_ms
    if as_json:
        rows = [_as_object(stretch, step) for stretch in listed.ledger.stretches]
        told = {"symbol": symbol, "timeframe": timeframe, "late": listed.late, "stretches": rows}
        print(json.dumps(told | _mark(simulated=listed.simulated)))
        return
    if listed.simulated:
        print("SIMULATED")
    if listed.ledger.stretches:
        print_columns(_HEADS, [_cells(stretch, step) for stretch in listed.ledger.stretches])
    print(
        f"{series}: {_totals(listed.ledger, step)}; {counted(listed.late, 'candle')} came after an answer without them"
    )


def mark_evidence(
    symbol: str,
    timeframe: str,
    flags: dict[str, str],
    config_file: str | None,
    state: str | None,
    from_: str | None,
    to: str | None,
    *,
    as_json: bool,
) -> None:
    """Mark the slots of a range by hand and print how many.

    Raises:
        ConfigError: An argument or a setting is out of order.
        StoreError: Redis did not do its part; nothing was changed.
    """
    faults: list[str] = []
    wanted = next((each for each in _MARKS if each.value == state), None)
    if wanted is None:
        given = "--state is missing" if state is None else f"--state {state!r}: cannot be set by hand"
        faults.append(f"{given}; allowed: {', '.join(_MARKS)}")
    config, series, slots = _slots(symbol, timeframe, flags, config_file, from_, to, faults)
    if wanted is None:
        raise ConfigError(faults)
    done, simulated = trio.run(_mark_slots, config, series, slots, wanted)
    if as_json:
        print(json.dumps({"marked": done.changed, "present": done.present} | _mark(simulated=simulated)))
    else:
        left = f"; {counted(done.present, 'slot')} with a candle left out" if done.present else ""
        print(f"{'SIMULATED ' * simulated}{series}: {counted(done.changed, 'slot')} marked {wanted}{left}")


def forget_evidence(
    symbol: str,
    timeframe: str,
    flags: dict[str, str],
    config_file: str | None,
    from_: str | None,
    to: str | None,
    *,
    as_json: bool,
) -> None:
    """Forget what is known of the slots of a range and print how many.

    Raises:
        ConfigError: An argument or a setting is out of order.
        StoreError: Redis did not do its part; nothing was changed.
    """
    config, series, slots = _slots(symbol, timeframe, flags, config_file, from_, to, [])
    done, simulated = trio.run(_forget_slots, config, series, slots)
    if as_json:
        print(json.dumps({"forgotten": done.changed} | _mark(simulated=simulated)))
    else:
        print(f"{'SIMULATED ' * simulated}{series}: {counted(done.changed, 'slot')} forgotten")


def _slots(
    symbol: str,
    timeframe: str,
    flags: dict[str, str],
    config_file: str | None,
    from_: str | None,
    to: str | None,
    faults: list[str],
) -> tuple[ReconciliationConfig, Series, Interval]:
    """Return whose slots are to be changed and which; they begin and end where a bar does.

    Raises:
        ConfigError: With every fault found, those given and those of the settings.
    """
    series = parse_series(symbol, timeframe, faults)
    bounds = [parse_instant(flag, text, faults) for flag, text in (("--from", from_), ("--to", to))]
    if not faults and series is not None:
        step = series.timeframe.step_ms
        for flag, instant in zip(("--from", "--to"), bounds, strict=True):
            before = instant - instant % step
            if before != instant:
                allowed = f"{iso(before, 'seconds')} or {iso(before + step, 'seconds')}"
                faults.append(f"{flag} {iso(instant, 'seconds')}: no {timeframe} bar opens there; allowed: {allowed}")
        if bounds[0] >= bounds[1]:
            faults.append(f"--to {to}: lies not after --from {from_}; allowed: a later time")
    config = load_config(flags, config_file, known_faults=faults, windows=())
    if series is None:
        raise ConfigError(faults)
    return config, series, Interval(*bounds)


@asynccontextmanager
async def _open(config: ReconciliationConfig, command: str) -> AsyncIterator[tuple[Parts, EvidenceStore, bool]]:
    async with (
        # What is known of invented candles may be looked at and changed: it stays beside them.
        open_cache(config, command, writes=False) as cache,
        open_parts(config, cache.url, owns_server=False) as parts,
    ):
        yield parts, EvidenceStore(parts.client, parts.scope), cache.simulated


async def _list(config: ReconciliationConfig, series: Series, asked: Interval | None) -> Listed:
    async with _open(config, "evidence") as (_, evidence, simulated):
        reach = await evidence.reach(series)
        if reach is None:
            return Listed(Ledger(), await evidence.late(series), simulated)
        (read,) = await evidence.read([(series, reach if asked is None else _on_grid(asked, series))])
        if read.error is not None:
            raise read.error
        return Listed(read.ledger, await evidence.late(series), simulated)


def _on_grid(asked: Interval, series: Series) -> Interval:
    """Return the slots that open inside a range."""
    step = series.timeframe.step_ms
    return Interval(ceil_to(asked.start, step), ceil_to(asked.stop, step))


async def _mark_slots(
    config: ReconciliationConfig, series: Series, slots: Interval, state: State
) -> tuple[EvidenceEdit, bool]:
    async with _open(config, "evidence mark") as (parts, evidence, simulated):
        now = await parts.clock.now()
        _check_kept(config, series, slots, now)
        by = _whoever("evidence mark")
        return await mark_slots(parts.store, evidence, series, slots, state, parts.retention, now, by=by), simulated


async def _forget_slots(config: ReconciliationConfig, series: Series, slots: Interval) -> tuple[EvidenceEdit, bool]:
    async with _open(config, "evidence forget") as (parts, evidence, simulated):
        now = await parts.clock.now()
        by = _whoever("evidence forget")
        return await forget_slots(evidence, series, slots, parts.retention, now, by=by), simulated


def _check_kept(config: ReconciliationConfig, series: Series, slots: Interval, now: int) -> None:
    """Refuse slots that have not closed, and those whose evidence would be dropped with their candles.

    Raises:
        ConfigError: With what is allowed.
    """
    closed = closed_before(now, series.timeframe, config.grace_ms)
    faults = [history_fault(str(series), slots, now, series.timeframe, config.max_candles)]
    if slots.stop > closed:
        faults.append(f"--to {iso(slots.stop)}: bars from {iso(closed)} on have not closed; allowed: {iso(closed)}")
    found = [fault for fault in faults if fault is not None]
    if found:
        raise ConfigError(found)


def _whoever(command: str) -> str:
    """Return the name under which a change by hand is journalled."""
    try:
        return f"{command}, {getpass.getuser()}"
    except (KeyError, OSError):
        # A user id without a name, as in a container.
        return command


def _totals(ledger: Ledger, step: int) -> str:
    slots: Counter[str] = Counter()
    for start, stop, finding in ledger.stretches:
        slots[finding.state.value] += (stop - start) // step
    return ", ".join(f"{counted(count, 'slot')} {state}" for state, count in slots.items()) or "nothing known"


def _cells(stretch: Stretch, step: int) -> Sequence[str]:
    start, stop, finding = stretch
    return (
        iso(start),
        iso(stop),
        str((stop - start) // step),
        finding.state.value,
        iso(finding.first, "seconds"),
        iso(finding.last, "seconds"),
        str(finding.sightings),
        _next_check(finding),
        finding.reason.value,
    )


def _next_check(finding: Finding) -> str:
    if finding.next_check is None:
        return "never"
    # Whether and when is for the settings of the pass.
    return "by repair" if finding.state is State.SUSPECT else iso(finding.next_check, "seconds")


def _as_object(stretch: Stretch, step: int) -> dict[str, Any]:
    start, stop, finding = stretch
    return {"start": start, "stop": stop, "slots": (stop - start) // step, **finding._asdict()}


def _mark(*, simulated: bool) -> dict[str, bool]:
    return {"simulated": True} if simulated else {}
