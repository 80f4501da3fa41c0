"""Tables of the requests of a pass or a backfill, and phrases that several results share."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler_engine.cli.output import UNKNOWN, Output, print_table, say
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.market.result import ReconciliationResult, SeriesResult, causes_of
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.request_plan import RequestPlan, SeriesPlan

_FIELDS = {
    "from": "start",
    "to": "stop",
    "verified to": "verified_to",
    "slots": "expected",
    "empty": "confirmed_empty",
    "dup": "duplicates",
    "bad": "malformed",
}
"""Field of a row for each column head that differs from the field's name."""
_INSTANTS = ("start", "stop", "verified_to")
_CERTAIN = ("expected", "requests")


def print_series(rows: Sequence[SeriesPlan | SeriesResult], heads: Sequence[str]) -> None:
    """Print a table with a row for each series and a column for each head."""
    fields = [_FIELDS.get(head, head) for head in heads]

    def told(row: SeriesPlan | SeriesResult, name: str) -> str:
        if name in _INSTANTS:
            return iso(getattr(row, name))
        return str(getattr(row, name)) if row.expected or name in _CERTAIN else UNKNOWN

    print_table(
        ("series", *heads),
        [(f"{row.symbol}:{row.timeframe}", *(told(row, name) for name in fields)) for row in rows],
    )


def print_plan(plan: RequestPlan, config: ReconciliationConfig, output: Output) -> None:
    """Print a plan: a row for each series, the totals, and how long new keys live."""
    print_series(plan.series, ("from", "to", "slots", "gaps", "missing", "requests"))
    print_totals(plan, config, output)
    print_life(config)


def print_totals(plan: RequestPlan, config: ReconciliationConfig, output: Output) -> None:
    """Print the number of requests, their duration, and the series that could not be read."""
    references = f" and at most {counted(plan.references, 'reference')}" if plan.references else ""
    verifying = f" ({plan.verifying} to verify candles)" if plan.verifying else ""
    output.print_line(
        f"{counted(plan.missing, 'slot')} missing, "
        f"{plan.confirmed_empty} confirmed empty: {counted(plan.requests, 'request')}{verifying}{references}, "
        f"{duration(plan.duration_ms)} at {config.batch_size} per {config.batch_delay_ms} ms; nothing was asked"
    )
    for cause in causes_of((f"{row.symbol}:{row.timeframe}", row.error) for row in plan.series):
        say(f"  {cause}")


def duration(ms: int) -> str:
    """Return a duration in its two largest units, such as `2 h 5 min`."""
    seconds = round(ms / 1_000)
    if not seconds:
        return f"{ms} ms"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    first = next(index for index, (_, length) in enumerate(units) if seconds >= length)
    parts: list[str] = []
    for name, length in units[first : first + 2]:
        count, seconds = divmod(seconds, length)
        if count or not parts:
            parts.append(f"{count} {name}")
    return " ".join(parts)


def print_life(config: ReconciliationConfig) -> None:
    """Print how long keys that the command makes in Redis live; nothing if they do not expire."""
    if config.life_s:
        say(f"  new keys expire {duration(config.life_s * 1_000)} after their last write (ttl); --ttl 0: never")


def audited(result: ReconciliationResult) -> str:
    """Return a phrase with the number of candles that differ from the exchange's; empty if there are none."""
    if not result.mismatched:
        return ""
    rewritten = f" ({result.rewritten} rewritten since they were verified)" if result.rewritten else ""
    return f", {result.mismatched} differing from the exchange, {result.repaired} of them repaired{rewritten}"


def requests_sent(result: ReconciliationResult) -> str:
    """Return a phrase with the number of requests of a result, and separately that of references."""
    references = f" and {counted(result.references, 'reference')}" if result.references else ""
    return f"{counted(result.requests, 'request')}{references}"
