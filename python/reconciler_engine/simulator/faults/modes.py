"""The modes of faults, and the settings of each with their allowed values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from reconciler_engine.simulator.faults import spoilt_answers
from reconciler_engine.simulator.faults.rules import Value


@dataclass(frozen=True, slots=True)
class ModeParameter:
    """A setting of a mode: its default and its allowed values.

    Allowed are the `choices`, or, where there are none, the numbers from `least` to `most`.
    """

    default: Value
    choices: tuple[Value, ...] = ()
    least: float = 0
    most: float = 86_400

    def find_problem(self, value: object) -> str | None:
        """Return why a value is not allowed, or None if it is."""
        if self.choices:
            # Types are compared, too: True equals 1.
            allowed = [choice for choice in self.choices if type(choice) is type(value) and choice == value]
            return None if allowed else f"is none of {', '.join(map(str, self.choices))}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.least <= value <= self.most:
            return f"is not a number from {self.least:g} to {self.most:g}"
        return None


SHAPES = (*spoilt_answers.BODIES, *spoilt_answers.ROWS)
"""Names of the wrong shapes that valid JSON can have, for the mode `shape`."""

_TRUTH = (False, True)

MODES: Mapping[str, Mapping[str, ModeParameter]] = MappingProxyType(
    {
        # 429 answers; after `escalate_after` of them every answer is 403 `Too many errors` for `block_s` seconds.
        "throttle": {
            "retry_after": ModeParameter("none", ("none", "seconds", "date")),
            "wait_s": ModeParameter(1),
            "rate_headers": ModeParameter(False, _TRUTH),  # noqa: FBT003 - a default
            "body": ModeParameter(False, _TRUTH),  # noqa: FBT003 - a default
            "escalate_after": ModeParameter(0, most=1_000_000),
            "block_s": ModeParameter(60),
        },
        # 403 `Too many errors`, sent `seconds` after the request.
        "blocked": {"seconds": ModeParameter(0)},
        "status": {
            "status": ModeParameter(500, (500, 502, 503, 504)),
            "body": ModeParameter("json", ("json", "empty", "html")),
        },
        # In place of the answer, the page by which the CDN checks the browser.
        "challenge": {"status": ModeParameter(403, (200, 403, 503))},
        "unauthorized": {},
        # The exchange's clock is off by `seconds`: in `/time`, in open candles and in the check of tokens.
        "skew": {"seconds": ModeParameter(180, least=-86_400)},
        # The connection is reset and the port stays closed for `seconds`.
        "refuse": {"seconds": ModeParameter(5)},
        "silence": {"seconds": ModeParameter(3_600)},
        "slow_head": {"seconds": ModeParameter(5)},
        "slow_body": {"seconds": ModeParameter(5)},
        "reset": {},
        "reset_body": {},
        # Half the body; Content-Length states the whole body, the half, or is left out.
        "truncate": {"length": ModeParameter("full", ("full", "short", "absent"))},
        # The whole answer, without `Connection: close`; then the connection is closed.
        "close": {},
        "gzip": {},
        # At most `rows` rows are spoilt: those of every `nth` slot since 1970, or, for `nth` 0, those in the middle.
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
"""Modes that spoil or delay the sending of an answer, not its content."""

UNANSWERED = frozenset({"refuse", "silence", "reset"})
"""Modes in which the client receives no status line."""
