"""The answer of `evidence list`: all evidence about a series, for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reconciler_engine.cli.output import Output, print_columns, say
from reconciler_engine.market.interval import NOTHING, Interval, Intervals
from reconciler_engine.market.series import Series
from reconciler_engine.observe.words import counted, iso
from reconciler_engine.planning.audit import rests_until
from reconciler_engine.planning.ledger import Finding, FindingInterval, Knowledge, Ledger, Reason
from reconciler_engine.planning.states import obstacle_of

_HEADS = ("from", "to", "slots", "state", "first proof", "last proof", "sightings", "next check", "reason")
_MORE_HEADS = ("from", "to", "slots", "also known")


class SeriesEvidence(NamedTuple):
    """The evidence about a series.

    Attributes:
        known: All findings, and other knowledge about slots.
        fillers: Slots proved empty in which the cache holds a filler.
        late: Number of candles that came after an answer had lacked them.
    """

    known: Knowledge = Knowledge()
    fillers: Intervals = NOTHING
    late: int = 0

    def within(self, interval: Interval) -> SeriesEvidence:
        """Return the evidence about the slots of an interval."""
        known = Knowledge(
            Ledger(self.known.ledger.within(interval)),
            self.known.exists & interval,
            repaired=tuple(one for one in self.known.repaired if one.slot in interval),
            accepted={slot: digest for slot, digest in self.known.accepted.items() if slot in interval},
        )
        return self._replace(known=known, fillers=self.fillers & interval)

    def also_known(self, step: int) -> Mapping[str, Intervals]:
        """Return knowledge besides the findings: its description, and the slots that it is about."""
        repaired: dict[str, list[int]] = {}
        for one in sorted(self.known.repaired):
            repaired.setdefault(f"repaired {counted(one.times, 'time')} within a day", []).append(one.slot)
        return {
            "known to exist": self.known.exists,
            "accepted by hand": Intervals.of_slots(sorted(self.known.accepted), step),
            "filler, judged empty": self.fillers,
            **{words: Intervals.of_slots(slots, step) for words, slots in repaired.items()},
        }


def as_object(series: Series, found: SeriesEvidence) -> dict[str, Any]:
    """Return the JSON object; instants in ms UTC, intervals as `[start, stop]`."""
    step, known = series.timeframe.step_ms, found.known
    return {
        "symbol": series.symbol,
        "timeframe": series.timeframe.value,
        "late": found.late,
        "stretches": [_as_object(one, step) for one in known.ledger.findings],
        "exists": _pairs(known.exists),
        "accepted": _pairs(Intervals.of_slots(sorted(known.accepted), step)),
        "fillers": _pairs(found.fillers),
        "repaired": [one._asdict() for one in known.repaired],
    }


def _pairs(slots: Intervals) -> list[list[int]]:
    return [[one.start, one.stop] for one in slots]


def print_evidence(series: Series, found: SeriesEvidence, output: Output) -> None:
    """Print the evidence for people."""
    step, ledger = series.timeframe.step_ms, found.known.ledger
    if output.simulated:
        say("SIMULATED")
    if ledger.findings:
        print_columns(_HEADS, [_cells(one, step) for one in ledger.findings])
    rows = [
        (iso(one.start), iso(one.stop), str(one.size(step)), words)
        for words, slots in found.also_known(step).items()
        for one in slots
    ]
    if rows:
        print_columns(_MORE_HEADS, rows)
    totals = _totals(ledger, step) or ("no slot in doubt or proved empty" if rows else "nothing known")
    say(f"{series}: {totals}; {counted(found.late, 'candle')} came after an answer without them")


def _totals(ledger: Ledger, step: int) -> str:
    slots: Counter[str] = Counter()
    for start, stop, finding in ledger.findings:
        slots[finding.state.value] += (stop - start) // step
    return ", ".join(f"{counted(count, 'slot')} {state}" for state, count in slots.items())


def _cells(found: FindingInterval, step: int) -> Sequence[str]:
    start, stop, finding = found
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
    due = rests_until(finding)
    if due is None:
        return "never"
    # The settings of the pass decide whether repair comes first.
    return f"{'by repair, or ' if finding.reason is Reason.VALUES_DIFFER else ''}{iso(due, 'seconds')}"


def _as_object(found: FindingInterval, step: int) -> dict[str, Any]:
    start, stop, finding = found
    told = finding._replace(next_check=rests_until(finding))._asdict()
    return {"start": start, "stop": stop, "slots": (stop - start) // step, **told, "obstacle": obstacle_of(finding)}
