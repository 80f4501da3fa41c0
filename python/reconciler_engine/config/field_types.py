"""The types of the settings' fields. Each parses and checks its texts with the module that uses the value."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator

from reconciler_engine.coinbase.base_url import BaseUrl
from reconciler_engine.coinbase.route import Proxy
from reconciler_engine.coinbase.symbol_selectors import Selector
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.observe.web.listen import ListenAddress, check_host, check_token
from reconciler_engine.planning.sightings import RIPE_MS
from reconciler_engine.planning.window import MINIMUM_STEPS
from reconciler_engine.scheduling.cron import CronExpression
from reconciler_engine.scheduling.zones import load_zone

_FAULTS_TOLD = 20
_LEAST_CANDLES = MINIMUM_STEPS + 2
_REDIS_SCHEMES = frozenset(
    {"unix", *(f"{plain}{form}" for plain in ("redis", "rediss") for form in ("", "+cluster", "+sentinel"))}
)
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:=,@/\[\]]+)"
_MAPPED = rf"{_HOST}={_HOST}|{_HOST}:[1-9][0-9]{{0,4}}={_HOST}:[1-9][0-9]{{0,4}}"


def _split_list(value: object) -> object:
    """Split a text `a,b`, as flags and environment variables have it, into a list."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _no_boolean(value: object) -> object:
    """Refuse true and false, which pydantic would convert to 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("not a number")  # noqa: TRY004  pydantic turns ValueError alone into a fault
    return value


def _check_path(value: object) -> object:
    """Refuse an impossible path, and the empty text, which would be the current folder of the process."""
    if isinstance(value, str) and (not value or "\0" in value):
        raise ValueError("the path is empty or contains a NUL character")
    return value


def _check_listen(value: object) -> object:
    # In a settings file, a lone port may be a number.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        ListenAddress.parse(text)
    return text


def _check_scheme(url: str) -> None:
    if urlsplit(url).scheme not in _REDIS_SCHEMES:
        raise ValueError("unknown scheme")


def _check_settle(age_ms: int) -> int:
    if not age_ms:
        raise ValueError("to repair nothing, set audit_policy = report")
    if 0 < age_ms < RIPE_MS:
        raise ValueError("the exchange may still change bars of the last ten minutes")
    return age_ms


def _check_max_candles(count: int) -> int:
    if 0 < count < _LEAST_CANDLES:
        raise ValueError(f"3 closed candles, the settling and the forming one are {_LEAST_CANDLES}")
    return count


def _check_hourly_limit(limit: int) -> int:
    if limit == 1:
        raise ValueError("one an hour cannot be paced")
    return limit


def _check_pattern(pattern: str, problem: str, text: str) -> None:
    if re.fullmatch(pattern, text) is None:
        raise ValueError(problem.format(text))


def _taken(check: Callable[[str], object]) -> Callable[[str], str]:
    """Return a validator that calls `check`, which raises ValueError for a bad text, and returns the text unchanged."""

    def checked(text: str) -> str:
        check(text)
        return text

    return checked


def _each(check: Callable[[str], str], names: tuple[str, ...]) -> tuple[str, ...]:
    """Check all names and drop duplicates. The error lists up to `_FAULTS_TOLD` faults, not only the first."""
    kept: list[str] = []
    faults: list[str] = []
    for name in names:
        try:
            kept.append(check(name))
        except ValueError as error:
            faults.append(str(error))
    if faults:
        told = list(dict.fromkeys(faults))
        more = [f"and {len(told) - _FAULTS_TOLD} more"] if len(told) > _FAULTS_TOLD else []
        raise ValueError("; ".join([*told[:_FAULTS_TOLD], *more]))
    return tuple(dict.fromkeys(kept))


def _text(check: Callable[[str], object]) -> AfterValidator:
    return AfterValidator(_taken(check))


def _list(check: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(partial(_each, check))


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Share = Annotated[float, BeforeValidator(_no_boolean)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split_list)]
Location = Annotated[Path, BeforeValidator(_check_path)]
RedisUrl = Annotated[str, _text(_check_scheme)]
WebhookUrl = Annotated[str, _text(partial(_check_pattern, r"https?://[^\s/?#]+[!-~]*", "another form"))]
ProxyUrl = Annotated[str, _text(Proxy.parse)]
Egress = Annotated[str, _text(partial(_check_pattern, "[A-Za-z0-9._-]{1,64}", "other characters or another length"))]
Cron = Annotated[str, _text(lambda text: CronExpression.parse(text).ensure_fires())]
Zone = Annotated[str, _text(load_zone)]
Token = Annotated[str, _text(check_token)]
AddressMap = Annotated[Names, _list(_taken(partial(_check_pattern, _MAPPED, "{!r} is not such a pair")))]
Symbols = Annotated[Names, _list(_taken(Selector.parse))]
Timeframes = Annotated[Names, _list(lambda name: Timeframe.parse(name).value)]
HourlyLimit = Annotated[Whole, AfterValidator(_check_hourly_limit)]
ExchangeUrl = Annotated[str, AfterValidator(lambda url: str(BaseUrl.parse(url, signed=False)))]
MaxCandles = Annotated[Whole, AfterValidator(_check_max_candles)]
Settle = Annotated[Whole, AfterValidator(_check_settle)]
Listen = Annotated[str | None, BeforeValidator(_check_listen)]
Hosts = Annotated[Names, _list(check_host)]
