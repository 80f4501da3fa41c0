"""Where two other libraries agree with each other and no clock changes, we agree with both.

Points where we differ on purpose are not generated: `*/n` beside a restricted other day field (croniter: either
matches), a step after a range of one value (both: from there to the end of the field), seconds (croniter: last).
"""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from croniter import croniter
from cronsim import CronSim

from reconciler_engine.scheduling.cron import CronExpression

SLOTS = 3
BOUNDS = {"minute": (0, 59), "hour": (0, 23), "day": (1, 28), "month": (1, 12), "weekday": (0, 6)}


def item(draw: random.Random, name: str) -> str:
    low, high = BOUNDS[name]
    first, last = sorted((draw.randint(low, high), draw.randint(low, high)))
    if first == last:
        return str(first)
    return draw.choice([f"{first}", f"{first}-{last}", f"{first}-{last}/{draw.randint(1, 5)}"])


def field(draw: random.Random, name: str) -> str:
    kind = draw.randrange(4)
    if kind == 0:
        return "*"
    if kind == 1 and name not in {"day", "weekday"}:
        return f"*/{draw.randint(2, 12)}"
    return ",".join(item(draw, name) for _ in range(kind)) or item(draw, name)


def check(cases: int) -> None:
    draw = random.Random(6)
    agreed = 0
    for _ in range(cases):
        text = " ".join(field(draw, name) for name in BOUNDS)
        after = draw.randrange(1_577_836_800, 2_082_758_400)
        begin = datetime.fromtimestamp(after, UTC)
        one, other = croniter(text, begin), CronSim(text, begin)
        slots = [int(one.get_next(float)) for _ in range(SLOTS)]
        if slots != [int(next(other).timestamp()) for _ in range(SLOTS)]:
            continue
        agreed += 1
        ours = CronExpression.parse(text).slots_after(after * 1_000)
        assert [next(ours) // 1_000 for _ in range(SLOTS)] == slots, text
    assert agreed >= 0.8 * cases


def test_agrees_with_croniter_and_cronsim_where_they_agree() -> None:
    check(500)


@pytest.mark.soak
def test_agrees_with_croniter_and_cronsim_on_many_thousand_expressions() -> None:
    check(50_000)
