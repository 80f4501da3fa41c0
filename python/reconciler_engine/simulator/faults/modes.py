"""The modes of faults and their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reconciler_engine.simulator.faults import spoilt_answers
from reconciler_engine.simulator.faults.rules import Value


@dataclass(frozen=True, slots=True)
class ModeParameter:
    """A setting of a mode: one of `choices`, or else a number from `least` to `most`.

    `default` also says the kind: a setting that is true or false takes nothing else.
    """

    default: Value
    choices: tuple[Value, ...] = ()
    least: float = 0
    most: float = 86_400

    def find_problem(self, value: object) -> str | None:
        """Return the mistake in a value, if any."""
        if self.choices:
            # True equals 1, but is not a status.
            allowed = [choice for choice in self.choices if type(choice) is type(value) and choice == value]
            return None if allowed else f"is none of {', '.join(map(str, self.choices))}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.least <= value <= self.most:
            return f"is not a number from {self.least:g} to {self.most:g}"
        return None


SHAPES = (*spoilt_answers.BODIES, *spoilt_answers.ROWS)
"""Valid JSON of a wrong shape."""

_TRUTH = (False, True)

MODES: Mapping[str, Mapping[str, ModeParameter]] = MappingProxyType(
    {
        # Refusals for rate; after `escalate_after` of them everything is 403 `Too many errors` for `block_s`.
        "throttle": {
            "retry_after": ModeParameter("none", ("none", "seconds", "date")),
            "wait_s": ModeParameter(1),
            "rate_headers": ModeParameter(False, _TRUTH),  # noqa: FBT003 - a default
            "body": ModeParameter(False, _TRUTH),  # noqa: FBT003 - a default
            "escalate_after": ModeParameter(0, most=1_000_000),
            "block_s": ModeParameter(60),
        },
        # So many seconds after the request.
        "blocked": {"seconds": ModeParameter(0)},
        "status": {
            "status": ModeParameter(500, (500, 502, 503, 504)),
            "body": ModeParameter("json", ("json", "empty", "html")),
        },
        # A page of the content network in place of the answer.
        "challenge": {"status": ModeParameter(403, (200, 403, 503))},
        "unauthorized": {},
        # The exchange's clock is off, for times, open buckets and tokens.
        "skew": {"seconds": ModeParameter(180, least=-86_400)},
        # The connection is reset and the port closed for a while.
        "refuse": {"seconds": ModeParameter(5)},
        "silence": {"seconds": ModeParameter(3_600)},
        "slow_head": {"seconds": ModeParameter(5)},
        "slow_body": {"seconds": ModeParameter(5)},
        "reset": {},
        "reset_body": {},
        # Half a body; the length says the whole, says the half, or is not said.
        "truncate": {"length": ModeParameter("full", ("full", "short", "absent"))},
        # The answer is whole, then the connection is closed without a word.
        "close": {},
        "gzip": {},
        # The rows of every `nth` slot, counted from the epoch, or without that those in the middle; `rows` at most.
        "shape": {
            "shape": ModeParameter("object", SHAPES),
            "rows": ModeParameter(1, least=1, most=1_000),
            "nth": ModeParameter(0, most=1_000_000),
        },
        "data": {
            "data": ModeParameter("empty", tuple(spoilt_answers.DATA)),
            "seconds": ModeParameter(60),
            "rows": ModeParameter(3, least=1, most=1_000),
            "nth": ModeParameter(3, least=1, most=1_000_000),
        },
    }
)

DELIVERIES = frozenset(
    {"blocked", "refuse", "silence", "slow_head", "slow_body", "reset", "reset_body", "truncate", "close"}
)
"""Modes that spoil an answer's way, or make it longer."""

UNANSWERED = frozenset({"refuse", "silence", "reset"})
"""Modes of which the client sees no status."""
