"""The second opinion agrees with the checks: on what is right, and on planted faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.histories.failing_servers import Loss
from tests.histories.history import History
from tests.histories.planted import COMPARE_AND_SET_REMOVED, EPOCH_NOT_RAISED, FAULTS, FENCE_REMOVED
from tests.histories.second_opinion import NoChecker, build_checker, second_opinion
from tests.histories.test_checks import race, supersede, take_twice
from tests.histories.test_failover_storm import HISTORY, weather

pytestmark = pytest.mark.soak


@pytest.fixture
def checker(tmp_path) -> Path:
    """The checker; without one these tests are skipped."""
    try:
        return build_checker(tmp_path)
    except NoChecker as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("fault", [FENCE_REMOVED, EPOCH_NOT_RAISED, COMPARE_AND_SET_REMOVED])
async def test_a_second_opinion_refuses_what_only_a_fault_explains(redis, tmp_path, monkeypatch, checker, fault):
    history, path = History(), tmp_path / "calls.jsonl"

    async def act() -> None:
        await redis.flushall()
        if fault == FENCE_REMOVED:
            await supersede(redis)
        elif fault == EPOCH_NOT_RAISED:
            await take_twice(redis)
        else:
            await race(redis, history)

    with history.recording(monkeypatch):
        await act()
        history.write(path)
        assert second_opinion(checker, path)[0]
        FAULTS[fault].plant(monkeypatch.setattr)
        await act()
    history.write(path)
    is_explained, said = second_opinion(checker, path)
    assert not is_explained
    assert "not linearizable" in said


@pytest.mark.parametrize("way", ["address", "Cluster"])
async def test_a_second_opinion_agrees_on_a_storm(tmp_path, tell_figure, checker, way):
    await weather(tmp_path, way, [Loss.KILLED, Loss.CUT_OFF], reshardings=int(way == "Cluster"))
    is_explained, said = second_opinion(checker, tmp_path / HISTORY)
    tell_figure(f"two failovers by {way}, by porcupine: {said}")
    assert is_explained
