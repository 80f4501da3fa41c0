"""Faults and their times: drawn from a seed, so that a failing schedule is played again by its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from tests.chaos.proxy import Kind, Toxic, Way


class Fault(StrEnum):
    """Kinds of faults. Those that last are over after the blow's `lasts_s`."""

    WORKER_KILL = "worker SIGKILL"
    WORKER_PAUSE = "worker SIGSTOP, SIGCONT"
    WORKER_HANG = "worker SIGSTOP"
    SUPERVISOR_KILL = "supervisor SIGKILL, started again"
    SUPERVISOR_PAUSE = "supervisor SIGSTOP, SIGCONT"
    REDIS_KILL = "Redis SIGKILL, started again"
    REDIS_PAUSE = "Redis SIGSTOP, SIGCONT"
    REDIS_FLUSH = "Redis FLUSHALL"
    REDIS_CLIENTS = "Redis CLIENT KILL of every connection"
    REDIS_TOXIC = "toxic before Redis"
    EXCHANGE_RESTART = "exchange gone, started again"
    EXCHANGE_STORM = "every answer a refusal"
    EXCHANGE_TOXIC = "toxic before the exchange"
    EXCHANGE_WITHHOLDS = "every answer without some candles"


STORMS: tuple[dict[str, object], ...] = (
    {"mode": "throttle", "retry_after": "seconds", "wait_s": 1},
    {"mode": "throttle"},
    {"mode": "status", "status": 500},
    {"mode": "status", "status": 503, "body": "html"},
    {"mode": "status", "status": 502, "body": "empty"},
    {"mode": "challenge", "status": 200},
    {"mode": "truncate", "length": "full"},
    {"mode": "truncate", "length": "short"},
    {"mode": "shape", "shape": "missing_field"},
    {"mode": "reset_body"},
)
"""Rules of the simulated exchange: 429 with and without a time, 5xx in three forms, an HTML page with 200, ..."""

WITHHOLDINGS: tuple[dict[str, object], ...] = (
    {"mode": "data", "data": "empty"},
    {"mode": "data", "data": "late", "seconds": 1_800},
    {"mode": "data", "data": "thinned", "nth": 3},
)
"""Rules of an exchange whose answers are well-formed and lack all candles, the newest ones, or every third one."""

RULES = {Fault.EXCHANGE_STORM: STORMS, Fault.EXCHANGE_WITHHOLDS: WITHHOLDINGS}
"""The forms of the faults that are rules of the simulated exchange."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault: when (s after the schedule's begin), how long, and which of its forms."""

    at_s: float
    fault: Fault
    lasts_s: float = 0.0
    toxic: Toxic | None = None
    rule: int = 0

    def __str__(self) -> str:
        form = RULES[self.fault][self.rule] if self.fault in RULES else self.toxic or ""
        return f"{self.at_s:.2f} s: {self.fault} {form} for {self.lasts_s:.2f} s"


def toxics(way: Way) -> tuple[Toxic, ...]:
    """Every fault of the network in one direction, strong enough to hurt and weak enough to get some bytes through."""
    return (
        Toxic(Kind.LATENCY, way, delay_s=0.2, jitter_s=0.2),
        Toxic(Kind.BANDWIDTH, way, bytes_per_s=20_000),
        Toxic(Kind.SLICER, way, piece=50, delay_s=0.005),
        Toxic(Kind.SLOW_CLOSE, way, delay_s=5.0),
        Toxic(Kind.SWALLOW, way),
        Toxic(Kind.STALL, way),
        Toxic(Kind.RESET, way),
        Toxic(Kind.LIMIT, way, limit=500),
        Toxic(Kind.CUT, way),
    )


def draw_schedule(seed: int, faults: Sequence[Fault], *, within_s: float, most: int = 3) -> tuple[Blow, ...]:
    """Draw one to `most` blows within a time (s); the same arguments give the same schedule."""
    random = Random(seed)
    blows = [_draw_blow(random, random.choice(faults), within_s) for _ in range(random.randint(1, most))]
    return tuple(sorted(blows, key=lambda blow: blow.at_s))


def _draw_blow(random: Random, fault: Fault, within_s: float) -> Blow:
    choices = toxics(random.choice(list(Way)))
    if fault is Fault.EXCHANGE_TOXIC:
        # A request swallowed there costs the client's patience, 10 s; test_toxics has it with less of that.
        choices = tuple(toxic for toxic in choices if toxic.kind is not Kind.SWALLOW)
    toxic = random.choice(choices)
    at_s = random.uniform(0, within_s)
    return Blow(
        # From the first moment on: later there may be nothing left to be asked for.
        at_s=0.0 if fault is Fault.EXCHANGE_WITHHOLDS else at_s,
        fault=fault,
        lasts_s=random.uniform(0.05, within_s),
        toxic=toxic if fault in {Fault.REDIS_TOXIC, Fault.EXCHANGE_TOXIC} else None,
        rule=random.randrange(len(RULES.get(fault, STORMS))),
    )
