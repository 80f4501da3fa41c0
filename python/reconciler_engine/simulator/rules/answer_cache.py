"""The content network in front of the public paths: it repeats an answer for a second."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from reconciler_engine.simulator.api_response import ApiResponse

_ANSWERS_LIMIT = 256


class AnswerCache:
    """Good answers by URL, each for `lifetime_s` seconds; of more than 256 the oldest is dropped.

    Source: coinbase-api.md section 1, "Caching", read 2026-11-23: a cache of 1 s, although the header says 14,400.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._answers: OrderedDict[str, tuple[float, ApiResponse]] = OrderedDict()

    def find(self, target: str, now_s: float) -> ApiResponse | None:
        """Return the answer kept for a URL, with its age, if it is young enough."""
        kept = self._answers.get(target)
        if kept is None or now_s - kept[0] >= self._lifetime_s:
            return None
        age = (("age", str(int(now_s - kept[0]))), ("cf-cache-status", "HIT"))
        return replace(kept[1], headers=kept[1].headers + age)

    def keep(self, target: str, answer: ApiResponse, now_s: float) -> None:
        """Keep an answer from now on."""
        self._answers.pop(target, None)
        self._answers[target] = (now_s, answer)
        while len(self._answers) > _ANSWERS_LIMIT or next(iter(self._answers.values()))[0] <= now_s - self._lifetime_s:
            self._answers.popitem(last=False)
            if not self._answers:
                return
