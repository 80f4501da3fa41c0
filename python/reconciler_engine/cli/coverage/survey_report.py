"""The answers of `coverage` and `reconcile --dry-run`: a survey as a picture, a table or JSON."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reconciler_engine.cli.coverage.svg_picture import draw_svg
from reconciler_engine.cli.coverage.terminal_picture import SIGNS, draw
from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.one_pass import load_range
from reconciler_engine.cli.options import Given, Span
from reconciler_engine.cli.output import Output
from reconciler_engine.cli.plan_table import print_plan, print_totals
from reconciler_engine.cli.session import Session, in_session, since_last_pass
from reconciler_engine.cli.standard_streams import shows_colours
from reconciler_engine.cli.watching import check_watchable, watch
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.passes.survey import Survey, SurveyedSeries
from reconciler_engine.errors import ConfigError
from reconciler_engine.market.interval import Interval
from reconciler_engine.market.series import Series
from reconciler_engine.observe.obstacles import describe_obstacles
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.coverage_picture import Row
from reconciler_engine.planning.ledger import CONFIRMED, State
from reconciler_engine.planning.request_plan import SeriesPlan
from reconciler_engine.planning.verification import Verify

_DOUBTFUL = (State.MISSING, State.SUSPECT, State.UNKNOWN)
_WIDTH = 80


def show_coverage(given: Given, asked: Span, svg: Path | None, output: Output) -> None:
    """Print the picture or JSON, and write the SVG file; exit with 3 if a slot is doubtful or a series was not read.

    Raises:
        ReconcilerError: The command cannot run; nothing is printed or written then.
        OSError: The file cannot be written; no part of it is left.
    """
    if svg is not None and not svg.name:
        raise ConfigError([f"--svg {str(svg)!r}: names no file; allowed: path of the picture to be written"])
    survey, config = _survey("coverage", given, asked, output)
    rows = _rows(survey)
    if svg is not None:
        try:
            write_whole(svg, draw_svg(rows, f"{output.mark}Coverage at {iso(survey.at)}"))
        except OSError as error:
            raise OSError(f"--svg {svg}: cannot be written: {error.strerror}") from error
    if output.as_json:
        output.print_json(as_object(survey))
    else:
        _draw(rows, survey, config, output, coloured=shows_colours(sys.stdout))
    if any(one.slots(*_DOUBTFUL) or one.error or not one.states for one in survey.series):
        leave(UNRESOLVED)


def watch_coverage(given: Given, asked: Span, output: Output) -> None:
    """Draw the picture on the terminal, and redraw it until the user ends it.

    Raises:
        ReconcilerError: The command cannot run.
    """
    check_watchable(as_json=output.as_json)
    range_, config, credentials = load_range(given, asked, signed=True)
    coloured = shows_colours(sys.stdout)

    async def look(session: Session) -> None:
        series = await session.series()

        async def answer() -> None:
            survey = await _look(session, series, range_, Verify.DUE)
            _draw(_rows(survey), survey, config, output, coloured=coloured)

        await watch(answer)

    in_session(config, output, "coverage", look, credentials=credentials)


def _draw(rows: Sequence[Row], survey: Survey, config: ReconciliationConfig, output: Output, *, coloured: bool) -> None:
    for line in draw(
        rows, shutil.get_terminal_size((_WIDTH, 24)).columns, coloured=coloured, ascii_only=not _writes(SIGNS)
    ):
        print(line)
    print_totals(survey.plan, config, output)


def show_dry_run(given: Given, asked: Span, output: Output, verify: str) -> None:
    """Print the requests of a pass with this `--verify`; exit with 3 if a series could not be examined.

    Raises:
        ReconcilerError: The command cannot run; nothing is printed then.
    """
    survey, config = _survey("reconcile", given, asked, output, Verify(verify))
    if output.as_json:
        output.print_json(asdict(survey.plan))
    else:
        print_plan(survey.plan, config, output)
    unread = sum(not one.error and (not one.states or one.slots(State.UNKNOWN) > 0) for one in survey.series)
    if unread:
        leave(
            UNRESOLVED,
            f"{unread} of {len(survey.series)} series cannot be examined over the whole range: the cache keeps the "
            f"newest max_candles {config.max_candles} that have closed; allowed: another range, or --max-candles 0 "
            "for unlimited",
        )
    if any(one.error for one in survey.series):
        leave(UNRESOLVED)


def _survey(
    command: str, given: Given, asked: Span, output: Output, verify: Verify = Verify.DUE
) -> tuple[Survey, ReconciliationConfig]:
    range_, config, credentials = load_range(given, asked, signed=True)

    async def look(session: Session) -> Survey:
        return await _look(session, await session.series(), range_, verify)

    return in_session(config, output, command, look, credentials=credentials), config


async def _look(session: Session, series: Sequence[Series], asked: Interval | None, verify: Verify) -> Survey:
    config = session.parts.config
    return await session.parts.surveyor.survey(
        series,
        asked or config.full_reconcile_window_ms,
        bars=config.window_bars,
        verify=verify,
        horizon_ms=await since_last_pass(session),
    )


def as_object(survey: Survey) -> dict[str, Any]:
    """Return the JSON object: the plan, and for each series its slots by state, as runs of `[start, stop, state]`."""
    told = asdict(survey.plan)
    for row, one in zip(told["series"], survey.series, strict=True):
        row["states"] = {state.value: one.slots(state) for state in State}
        row["obstacles"] = one.obstacles
        row["unverified_since"] = one.unverified[0].start + one.series.timeframe.step_ms if one.unverified else None
        row["runs"] = [[run.start, run.stop, run.state.value] for run in one.states]
    return {"at": survey.at, **told}


def _rows(survey: Survey) -> list[Row]:
    return [_row(one, plan) for one, plan in zip(survey.series, survey.plan.series, strict=True)]


def _row(one: SurveyedSeries, plan: SeriesPlan) -> Row:
    doubts = describe_obstacles(one.obstacles)
    if young := (one.unverified - one.overdue).size(one.series.timeframe.step_ms):
        doubts.append(f"{young} not verified yet")
    if unknown := one.slots(State.UNKNOWN):
        doubts.append(f"{unknown} unknown")
    if plan.requests:
        doubts.append(counted(plan.requests, "request"))
    # The share of slots with a candle is shown if other slots are proved to have none.
    empty, slots = one.slots(*CONFIRMED), one.slots(*State)
    shares = f": {one.candles.size(one.series.timeframe.step_ms) / slots:.0%} candles, {empty} empty" if empty else ""
    note = ", ".join(doubts) or (f"complete{shares}" if one.states else "no closed slot")
    return Row(str(one.series), one.asked, one.series.timeframe.step_ms, one.states, note)


def _writes(signs: dict[Any, str]) -> bool:
    """Whether the encoding of standard output has all these signs."""
    try:
        "".join(signs.values()).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def write_whole(path: Path, text: str) -> None:
    """Write a whole file, or leave the old one unchanged.

    Raises:
        OSError: The file cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("x", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
