"""Control of a running simulator over HTTP, by paths that the real exchange does not have.

`GET /simulator/faults` lists the active rules and how often each matched and played; `PUT` replaces them (body: a
faults file as JSON). `GET /simulator/clock` returns the exchange's time, `PUT {"now_ms": ...}` sets it.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

from reconciler_engine.errors import ConfigError
from reconciler_engine.simulator.api_response import UNKNOWN_PATH, WRONG_METHOD, ApiRequest, ApiResponse
from reconciler_engine.simulator.faults.file import parse_faults
from reconciler_engine.simulator.faults.rules import Faults
from reconciler_engine.simulator.simulated_clock import SimulatedClock

PREFIX = "/simulator/"
_JSON = (("content-type", "application/json"),)
_INSTANT_LIMIT = 1 << 48


def answer_control(request: ApiRequest, faults: Faults, clock: SimulatedClock) -> ApiResponse:
    """Answer a request to the simulator itself; a 400 lists the mistakes of the request under `faults`."""
    what = request.path.removeprefix(PREFIX)
    if what not in {"faults", "clock"}:
        return UNKNOWN_PATH
    if request.method not in {"GET", "PUT"}:
        return WRONG_METHOD
    try:
        if request.method == "PUT":
            _set(what, request.body, faults, clock)
    except ConfigError as error:
        return _give(HTTPStatus.BAD_REQUEST, {"faults": list(error.faults)})
    if what == "clock":
        return _give(HTTPStatus.OK, {"now_ms": clock.now()})
    states = [
        {"name": state.rule.name, "mode": state.rule.mode, "matched": state.matched, "played": state.played}
        for state in faults.states
    ]
    return _give(HTTPStatus.OK, {"fault": states})


def _set(what: str, body: bytes, faults: Faults, clock: SimulatedClock) -> None:
    try:
        content: Any = json.loads(body)
    except ValueError as error:
        raise ConfigError([f"{what}: the body is not JSON: {error}"]) from error
    if what == "faults":
        faults.set(parse_faults(content))
        return
    now = content.get("now_ms") if isinstance(content, dict) else None
    if isinstance(now, bool) or not isinstance(now, int) or not 0 <= now < _INSTANT_LIMIT:
        raise ConfigError([f"clock: now_ms {now!r} is not an instant in milliseconds"])
    clock.set(now)


def _give(status: int, content: object) -> ApiResponse:
    return ApiResponse(status, json.dumps(content).encode(), _JSON)
