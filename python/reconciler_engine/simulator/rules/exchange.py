"""The simulated exchange: applies all rules and faults to a request and returns the answer, without network I/O."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Protocol

from reconciler_engine.simulator.api_response import (
    TOO_MANY_ERRORS,
    UNAUTHORIZED,
    UNKNOWN_PATH,
    WRONG_METHOD,
    ApiRequest,
    ApiResponse,
    give_json,
)
from reconciler_engine.simulator.faults import control, spoilt_answers
from reconciler_engine.simulator.faults.modes import DELIVERIES, UNANSWERED
from reconciler_engine.simulator.faults.rules import FaultRule, Faults
from reconciler_engine.simulator.prices.listed_products import write_time
from reconciler_engine.simulator.prices.market import Market
from reconciler_engine.simulator.rules.candle_endpoint import CandleRules, answer_candles
from reconciler_engine.simulator.rules.endpoints import (
    answer_general,
    answer_product,
    answer_products,
    answer_ticker,
)
from reconciler_engine.simulator.rules.request_log import RequestLog, RequestRecord, read_instant
from reconciler_engine.simulator.rules.throttle import Penalty, Throttle, ThrottleStyle, refuse_for_rate
from reconciler_engine.simulator.simulated_clock import SimulatedClock, check_rate

_ANSWERS_LIMIT = 256


class AnswerCache:
    """Caches successful answers by URL, each for `lifetime_s` seconds; holds at most 256 and drops the oldest first.

    Source: coinbase-api.md section 1, "Caching", read 2026-11-23: the exchange caches for 1 s, although its header
    says 14,400.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._answers: OrderedDict[str, tuple[float, ApiResponse]] = OrderedDict()

    def find(self, target: str, now_s: float) -> ApiResponse | None:
        """Return the cached answer of a URL with an `age` header, or None if it is missing or too old."""
        kept = self._answers.get(target)
        if kept is None or now_s - kept[0] >= self._lifetime_s:
            return None
        age = (("age", str(int(now_s - kept[0]))), ("cf-cache-status", "HIT"))
        return replace(kept[1], headers=kept[1].headers + age)

    def keep(self, target: str, answer: ApiResponse, now_s: float) -> None:
        """Cache an answer; drop the answers that are too old."""
        self._answers.pop(target, None)
        self._answers[target] = (now_s, answer)
        while len(self._answers) > _ANSWERS_LIMIT or next(iter(self._answers.values()))[0] <= now_s - self._lifetime_s:
            self._answers.popitem(last=False)
            if not self._answers:
                return


_ROUTE = re.compile(
    r"/api/v3/brokerage(/market)?/(?:(time)|products(?:/([^/]+)(/candles|/ticker)?)?)"
    r"|/v2/(time|currencies(?:/crypto)?|exchange-rates)"
)


class Verifier(Protocol):
    """Checks the signature of a request to a private path."""

    def verify(self, request: ApiRequest, now: int) -> str | ApiResponse:
        """Return the name of the key that signed, or the refusal; `now` is the exchange's time (ms UTC)."""


@dataclass(frozen=True, slots=True)
class ExchangeRules:
    """How the exchange behaves without faults.

    Attributes:
        candles: Rules of the candle endpoint.
        public_rate: Requests a second that each address may send to public paths; 0 for no limit.
        public_burst: Requests that an address may send at once.
        private_rate: Requests a second that each key may send to private paths; 0 for no limit.
        private_burst: Requests that a key may send at once.
        throttled: Form of a 429 answer.
        cache_s: Seconds for which a public answer is cached; 0 turns the cache off.

    Raises:
        ValueError: A rate is negative or not a finite number, or a burst is less than 1.
    """

    candles: CandleRules = field(default_factory=CandleRules)
    public_rate: float = 10.0
    public_burst: int = 10
    private_rate: float = 30.0
    private_burst: int = 30
    throttled: ThrottleStyle = field(default_factory=ThrottleStyle)
    cache_s: float = 1.0

    def __post_init__(self) -> None:
        for name in ("public_rate", "private_rate", "cache_s"):
            check_rate(name, getattr(self, name))
        for name in ("public_burst", "private_burst"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)!r} is less than 1")


@dataclass(frozen=True, slots=True)
class FaultyResponse:
    """An answer, and the fault that spoils its sending, if there is one."""

    answer: ApiResponse
    fault: FaultRule | None = None


class Exchange:
    """Answers requests; holds the rate limits, the cache and the log.

    Attributes:
        refresh_faults: Called before each request, if set; reads a changed faults file.

    Args:
        market: Products and candles that exist.
        clock: The exchange's time, for `/time`, open bars and signatures.
        rules: How the exchange behaves without faults.
        log: Log of the requests; by default in memory only.
        verifier: Checks signatures; without it every private path answers 401.
        faults: Rules of faults; by default there are no faults.
        read_s: Real monotonic clock (seconds), for rate limits and the cache.
    """

    def __init__(
        self,
        market: Market,
        clock: SimulatedClock,
        rules: ExchangeRules | None = None,
        *,
        log: RequestLog | None = None,
        verifier: Verifier | None = None,
        faults: Faults | None = None,
        read_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.market = market
        self.clock = clock
        self.rules = ExchangeRules() if rules is None else rules
        self.log = RequestLog() if log is None else log
        self._verifier = verifier
        self._read_s = read_s
        self._public = Throttle(self.rules.public_rate, self.rules.public_burst)
        self._private = Throttle(self.rules.private_rate, self.rules.private_burst)
        self._cache = AnswerCache(self.rules.cache_s)
        self._penalty = Penalty()
        self.faults = Faults() if faults is None else faults
        self.refresh_faults: Callable[[], None] | None = None

    def respond(self, request: ApiRequest) -> FaultyResponse:
        """Answer a request and log it; requests to the simulator itself (`/simulator/`) are not logged."""
        if request.path.startswith(control.PREFIX):
            return FaultyResponse(control.answer_control(request, self.faults, self.clock))
        if self.refresh_faults is not None:
            self.refresh_faults()
        route = _ROUTE.fullmatch(request.path)
        product = route[3] if route else None
        query = {name: values[0] for name, values in request.values.items()}
        # A `skew` fault changes the time for this answer only.
        now = self.clock.now()
        fault = self.faults.choose(request.path, product, query.get("granularity"), now)
        if fault is not None and fault.mode == "skew":
            now += round(fault.number("seconds") * 1000)
        # As the real exchange does, check blocks and refusals before the query.
        key, answer = None, self._suffer(fault, now)
        if answer is None:
            key, answer = self._admit(request, route, now)
        if answer is None:
            answer = self._look_up(request, route, now)
            if fault is not None and answer.rows is not None and answer.status == HTTPStatus.OK:
                answer = self._spoil(fault, answer, str(product), query, now)
        self.log.add(
            RequestRecord(
                time_ms=int(time.time() * 1000),
                path=request.path,
                product=product,
                granularity=query.get("granularity"),
                start=read_instant(query.get("start")),
                end=read_instant(query.get("end")),
                status=0 if fault is not None and fault.mode in UNANSWERED else int(answer.status),
                rows=answer.rows,
                key=key,
                fault=None if fault is None else fault.name,
            )
        )
        return FaultyResponse(answer, fault if fault is not None and fault.mode in DELIVERIES else None)

    def _suffer(self, fault: FaultRule | None, now: int) -> ApiResponse | None:
        """Return the answer that a block or the fault gives to every request, or None to answer normally."""
        if self._penalty.is_blocked(self._read_s()):
            return TOO_MANY_ERRORS
        if fault is None:
            return None
        if fault.mode == "throttle":
            if fault.number("escalate_after"):
                limit, block_s = int(fault.number("escalate_after")), fault.number("block_s")
                self._penalty.add(fault.name, limit, block_s, self._read_s())
            style = ThrottleStyle(
                fault.text("retry_after"), bool(fault.values["rate_headers"]), bool(fault.values["body"])
            )
            return refuse_for_rate(style, fault.number("wait_s"), self.rules.public_rate, now / 1000)
        replace_answer = spoilt_answers.REPLACED.get(fault.mode)
        return None if replace_answer is None else replace_answer(fault)

    def _spoil(
        self, fault: FaultRule, answer: ApiResponse, symbol: str, query: Mapping[str, str], now: int
    ) -> ApiResponse:
        """Return a candle answer as the fault changes it; other modes leave it as it is."""
        match fault.mode:
            case "gzip":
                return spoilt_answers.spoil_gzip(answer)
            case "shape":
                return spoilt_answers.spoil_shape(fault, answer, query)
            case "data":
                return spoilt_answers.spoil_data(fault, answer, self.market, symbol, query, now)
        return answer

    def _admit(
        self, request: ApiRequest, route: re.Match[str] | None, now: int
    ) -> tuple[str | None, ApiResponse | None]:
        """Return the name of the key that signed, if any, and the refusal if the request is refused."""
        if request.method != "GET":
            return None, WRONG_METHOD
        if route is None:
            return None, UNKNOWN_PATH
        if _is_public(route):
            wait_s = self._public.take(request.peer, self._read_s())
            return None, self._refuse_for_rate(wait_s, self.rules.public_rate) if wait_s else None
        identity = UNAUTHORIZED if self._verifier is None else self._verifier.verify(request, now)
        if isinstance(identity, ApiResponse):
            return None, identity
        wait_s = self._private.take(identity, self._read_s())
        return identity, self._refuse_for_rate(wait_s, self.rules.private_rate) if wait_s else None

    def _refuse_for_rate(self, wait_s: float, rate: float) -> ApiResponse:
        return refuse_for_rate(self.rules.throttled, wait_s, rate, self.clock.now() / 1000)

    def _look_up(self, request: ApiRequest, route: re.Match[str] | None, now: int) -> ApiResponse:
        """Answer an admitted request, from the cache where that is allowed."""
        if route is None:
            return UNKNOWN_PATH
        # A cached time would be wrong.
        if "time" in {route[2], route[5]} or not _is_public(route):
            return self._compute(request, route, now)
        now_s = self._read_s()
        cached = "no-cache" not in request.headers.get("cache-control", "")
        answer = self._cache.find(request.target, now_s) if cached else None
        if answer is None:
            answer = self._compute(request, route, now)
            if answer.status == HTTPStatus.OK:
                checksum = f"{zlib.crc32(answer.body):08x}"
                headers = (
                    ("cache-control", "public, max-age=14400"),
                    ("etag", f'W/"{checksum}"'),
                    ("cf-ray", f"{checksum}{len(answer.body):08x}-SIM"),
                )
                answer = replace(answer, headers=answer.headers + headers)
                self._cache.keep(request.target, answer, now_s)
                missed = ("cf-cache-status", "MISS" if cached else "BYPASS")
                answer = replace(answer, headers=(*answer.headers, missed))
        return answer

    def _compute(self, request: ApiRequest, route: re.Match[str], now: int) -> ApiResponse:
        if route[2] is not None:
            times = {"iso": write_time(now), "epochSeconds": str(now // 1_000), "epochMillis": str(now)}
            return give_json(json.dumps(times, separators=(",", ":")))
        if route[5] is not None:
            return answer_general(self.market, route[5], now)
        if route[4] == "/ticker":
            return answer_ticker(self.market, route[3], now)
        if route[4] is not None:
            first = {name: values[0] for name, values in request.values.items()}
            return answer_candles(self.market, self.rules.candles, route[3], first, now)
        if route[3] is not None:
            return answer_product(self.market, route[3], now)
        return answer_products(self.market, request.values, now)


def _is_public(route: re.Match[str]) -> bool:
    return any(route[group] is not None for group in (1, 2, 5))
