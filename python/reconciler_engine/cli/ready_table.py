"""The answers of `ready` about all series: the series that are not ready, or how far back each series is ready."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from reconciler_engine.cli.exits import UNRESOLVED, leave
from reconciler_engine.cli.known_series import known_series
from reconciler_engine.cli.options import Given
from reconciler_engine.cli.output import Output, paged, print_columns
from reconciler_engine.cli.ready import with_settings
from reconciler_engine.cli.session import Session, in_session
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.ready import sort_out
from reconciler_engine.errors import StoreError, own_fault
from reconciler_engine.market.series import Series
from reconciler_engine.observe.obstacles import Unready
from reconciler_engine.observe.words import ago, iso
from reconciler_engine.planning.window import closed_before
from reconciler_engine.store.product_list import ProductList
from reconciler_engine.store.ready_question import MAX_BARS, Readiness, ReadyOptions, ReadyQuestion
from reconciler_engine.store.ready_steps import examine_all

_BARS = 100
_FIRST_BARS = 1_000


def show_all(
    config: ReconciliationConfig,
    given: Given,
    options: ReadyOptions,
    output: Output,
    *,
    bars: int | None,
    reach: bool,
) -> None:
    """Print the state of all series, worst first; exit with 3 if a series is not ready.

    Raises:
        ReconcilerError: The command cannot run; nothing is printed then.
    """
    most = min(config.max_candles or MAX_BARS, MAX_BARS)
    count = bars or (most if reach else _BARS)
    asked = with_settings(options, config)

    async def ask(session: Session) -> tuple[_Told, ProductList]:
        series = await known_series(session, given)
        listed = await session.products()
        if reach:
            return await _reach_back(session.parts, series, count, asked), listed
        questions = [ReadyQuestion(one.symbol, one.timeframe, count, **asked) for one in series]
        return _Told(questions, await examine_all(session.parts.client, questions), {}), listed

    told, listed = in_session(config, output, "ready", ask)
    questions, answers, through = told
    for answer in answers:
        if isinstance(answer, StoreError):
            own_fault(answer, waits=False)
    unready = sort_out(questions, answers, listed.why_absent)
    if output.as_json:
        output.print_json(as_object(questions, answers, unready, count, through))
    else:
        with paged():
            if reach:
                _print_reach(questions, answers, through)
            else:
                _print_unready(unready)
            ready = len(questions) - len(unready)
            over = f"over the newest {count} closed bars" if not reach else "over all bars that are kept"
            output.print_line(f"{ready} of {len(questions)} series ready {over}")
    if unready:
        leave(UNRESOLVED)


class _Told(NamedTuple):
    """Questions, their answers, and the end of the last complete bars of series whose newest bar is not (ms UTC)."""

    questions: list[ReadyQuestion]
    answers: list[Readiness | StoreError]
    through: dict[Series, int]


async def _reach_back(parts: Parts, series: Sequence[Series], bars: int, asked: ReadyOptions) -> _Told:
    """Ask about the newest slots of each series, and where these are complete, about all slots.

    If the newest slot of a series is not complete, the last complete interval before it is looked for.
    """
    # Slots before the oldest member hold nothing.
    oldest = await parts.keys.oldest_of(series, bars)
    now = await parts.clock.redis_now()
    closed = [closed_before(now, one.timeframe, parts.config.grace_ms) for one in series]
    steps = [one.timeframe.step_ms for one in series]
    slots = [
        1 if at is None else max(1, min((stop - at) // step, bars))
        for at, stop, step in zip(oldest, closed, steps, strict=True)
    ]
    first = [min(count, _FIRST_BARS) for count in slots]
    questions = [
        ReadyQuestion(one.symbol, one.timeframe, count, **asked) for one, count in zip(series, first, strict=True)
    ]
    answers = await examine_all(parts.client, questions)
    whole = [
        index
        for index, answer in enumerate(answers)
        if isinstance(answer, Readiness) and answer.complete_from == answer.window.start and slots[index] > first[index]
    ]
    for index in whole:
        questions[index] = ReadyQuestion(series[index].symbol, series[index].timeframe, slots[index], **asked)
    for index, answer in zip(
        whole, await examine_all(parts.client, [questions[index] for index in whole]), strict=True
    ):
        answers[index] = answer
    told = {one: answer for one, answer in zip(series, answers, strict=True) if isinstance(answer, Readiness)}
    # A series that is complete over a whole question may be complete before it, too. One whose newest bar is not
    # complete may be complete before that bar.
    starts = {one: each.window.start for one, each in told.items() if each.complete_from == each.window.start}
    found = await parts.reach.find(starts) if bars == MAX_BARS else {}
    stops = {one: each.window.stop for one, each in told.items() if each.complete_from == each.window.stop}
    newest = await parts.reach.newest(stops)
    complete_from = {**found, **{one: run.start for one, run in newest.items()}}
    answers = [
        replace(answer, complete_from=complete_from[one])
        if isinstance(answer, Readiness) and one in complete_from
        else answer
        for one, answer in zip(series, answers, strict=True)
    ]
    return _Told(questions, answers, {one: run.stop for one, run in newest.items()})


def _print_unready(unready: Sequence[Unready]) -> None:
    if not unready:
        return
    now = time.time_ns() // 1_000_000
    rows = [(one.series, one.why(), ago(one.since, now), one.remedy()) for one in unready]
    print_columns(("series", "why", "since", "cure"), rows)


def _print_reach(
    questions: Sequence[ReadyQuestion], answers: Sequence[Readiness | StoreError], through: Mapping[Series, int]
) -> None:
    rows: list[tuple[str, ...]] = []
    for question, answer in sorted(zip(questions, answers, strict=True), key=_shortest_first):
        if isinstance(answer, StoreError):
            rows.append((str(question.series), "-", "-", "-", str(answer)))
            continue
        complete_from = _from(answer, answer.complete_from)
        step = question.series.timeframe.step_ms
        slots = (answer.window.stop - answer.ready_from) // step
        note = f"all {slots} bars" if answer.is_ready else f"{slots} of {question.bars} bars"
        if answer.is_ready and slots == MAX_BARS:
            note = f"{slots} bars or more"
        if question.series in through:
            lost = (answer.window.stop - through[question.series]) // step
            note += ": the newest is" if lost == 1 else f": the newest {lost} are"
            note += " missing or suspect"
        last = "-" if complete_from == "never" else iso(through.get(question.series, answer.window.stop) - step)
        rows.append((str(question.series), complete_from, last, _from(answer, answer.ready_from), note))
    print_columns(("series", "complete from", "through", "and verified from", "newest bars that are both"), rows)


def _from(answer: Readiness, instant: int) -> str:
    return iso(instant) if instant < answer.window.stop else "never"


def _shortest_first(pair: tuple[ReadyQuestion, Readiness | StoreError]) -> float:
    question, answer = pair
    if isinstance(answer, StoreError):
        return -1
    return (answer.window.stop - answer.ready_from) / (question.bars * question.series.timeframe.step_ms)


def as_object(
    questions: Sequence[ReadyQuestion],
    answers: Sequence[Readiness | StoreError],
    unready: Sequence[Unready],
    bars: int,
    through: Mapping[Series, int],
) -> dict[str, Any]:
    """Return the JSON object with a row for each series: first those that are not ready, from the worst on."""
    place = {one.series: (number, one) for number, one in enumerate(unready)}
    rows = []
    for question, answer in zip(questions, answers, strict=True):
        name = str(question.series)
        number, one = place.get(name, (len(unready), None))
        told: dict[str, Any] = {
            "symbol": question.series.symbol,
            "timeframe": question.series.timeframe.value,
            "ready": one is None,
        }
        if one is not None:
            told |= {"reason": one.reason, "slots": dict(one.slots), "first": one.first, "since": one.since}
            told |= {"again_at": one.again_at, "cure": one.cure}
        if isinstance(answer, Readiness):
            told |= {"start": answer.window.start, "stop": answer.window.stop}
            told |= {"complete_from": answer.complete_from, "verified_from": answer.ready_from}
            told |= {"complete_until": through.get(question.series, answer.window.stop)}
            told |= {"confirmed": answer.confirmed, "unverified": answer.unverified}
        rows.append((number, told))
    rows.sort(key=lambda row: row[0])
    ready = len(questions) - len(unready)
    return {"bars": bars, "ready": ready, "series": [told for _, told in rows]}
