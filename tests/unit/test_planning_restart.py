"""Whether and when a dead child is started again, as tables."""

from __future__ import annotations

import pytest

from reconciler_engine.planning.restart import (
    EXIT_CONFIG,
    FRUITLESS_LIMIT,
    FRUITLESS_WINDOW_MS,
    Death,
    RestartDecision,
    decide_restart,
)

SIGKILL = -9


def fruitless(*instants: int, status: int = 1) -> list[Death]:
    return [Death(at, status, was_useful=False) for at in instants]


@pytest.mark.parametrize("status", [0, 1, 70, SIGKILL, -11])
def test_who_was_useful_is_started_again_at_once(status):
    assert decide_restart([*fruitless(0, 1, 2, 3, 4), Death(5, status, was_useful=True)], 0.9) == RestartDecision()


@pytest.mark.parametrize("was_useful", [True, False])
def test_a_configuration_that_cannot_work_is_not_tried_again(was_useful):
    decision = decide_restart([Death(0, EXIT_CONFIG, was_useful)], 0.0)
    assert decision.reason == "its configuration cannot work"


def test_an_older_configuration_error_does_not_count():
    assert decide_restart([Death(0, EXIT_CONFIG, was_useful=False), Death(1, 1, was_useful=False)], 0.0).reason is None


@pytest.mark.parametrize(
    ("deaths", "least", "most"),
    [(1, 500, 1_000), (2, 500, 1_500), (3, 500, 2_500), (4, 500, 4_500), (5, 500, 8_500)],
)
def test_pauses_grow_with_full_jitter(deaths, least, most):
    instants = range(deaths)
    assert decide_restart(fruitless(*instants), 0.0).delay_ms == least
    assert decide_restart(fruitless(*instants), 0.999_999).delay_ms == most - 1
    assert all(decide_restart(fruitless(*instants), draw / 10).delay_ms <= 30_000 for draw in range(10))


def test_one_death_too_many_within_the_window_ends_the_role():
    last = FRUITLESS_WINDOW_MS - 1
    decision = decide_restart(fruitless(*range(FRUITLESS_LIMIT), last, status=SIGKILL), 0.5)
    assert decision.reason == "died 6 times within 60 s before doing any work"


def test_deaths_before_the_window_are_forgotten():
    instants = [*range(FRUITLESS_LIMIT), FRUITLESS_WINDOW_MS]
    decision = decide_restart(fruitless(*instants), 0.0)
    assert decision.reason is None
    assert decision.delay_ms == 500


def test_useful_lives_between_do_not_count_as_fruitless():
    deaths = [Death(at, 1, was_useful=at % 2 == 0) for at in range(9)]
    assert decide_restart([*deaths, *fruitless(10)], 0.0).reason is None
    assert decide_restart([*deaths, *fruitless(10, 11)], 0.0).reason is not None
