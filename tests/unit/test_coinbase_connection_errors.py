"""Every failure httpx can raise has a meaning of ours."""

from __future__ import annotations

import inspect
import ssl
import warnings

import httpcore
import httpx
import pytest

from reconciler_engine.coinbase.connection_errors import DEFECTS, MAPPING, error_of, mapped
from reconciler_engine.errors import BadResponse, SourceError, SourceUnavailable

UPSTREAM = [
    kind
    for _, kind in inspect.getmembers(httpx, inspect.isclass)
    if issubclass(kind, Exception) and not issubclass(kind, Warning)
]
BASES = (httpx.HTTPError, httpx.RequestError)
"""Never raised themselves; each of their subclasses is looked at."""


def instance(kind: type[Exception]) -> Exception:
    bare = kind.__new__(kind, "boom")
    Exception.__init__(bare, "boom")
    return bare


def test_the_list_of_upstream_errors_is_no_empty_one() -> None:
    assert len(UPSTREAM) > 20


@pytest.mark.parametrize("kind", [kind for kind in UPSTREAM if kind not in BASES])
def test_no_httpx_error_is_unmapped(kind: type[Exception]) -> None:
    ours = error_of(instance(kind))
    assert (ours is None) == issubclass(kind, DEFECTS)
    if ours is not None:
        assert isinstance(ours, SourceUnavailable | BadResponse)
        assert ours.retryable
        assert "boom" in str(ours)


def test_each_row_can_be_reached() -> None:
    for position, (kind, _, _) in enumerate(MAPPING):
        assert not any(issubclass(kind, earlier) for earlier, _, _ in MAPPING[:position])


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for _, kind in inspect.getmembers(httpcore, inspect.isclass)
        if issubclass(kind, Exception) and kind is not httpcore.ConnectionNotAvailable
    ],
)
def test_httpx_knows_every_error_of_httpcore(kind: type[Exception]) -> None:
    assert hasattr(httpx, kind.__name__)


def test_the_cause_is_kept() -> None:
    with pytest.raises(SourceError) as refused, mapped():
        raise httpx.ReadError("boom")
    assert isinstance(refused.value.__cause__, httpx.ReadError)


@pytest.mark.parametrize("kind", [ValueError, httpx.StreamConsumed])
def test_defects_stay_what_they_are(kind: type[Exception]) -> None:
    error = instance(kind)
    with pytest.raises(kind) as raised, mapped():
        raise error
    assert raised.value is error


def test_our_own_errors_pass_untouched() -> None:
    ours = BadResponse("x")
    with pytest.raises(BadResponse) as raised, mapped():
        raise ours
    assert raised.value is ours


def test_the_deepest_cause_is_told() -> None:
    certificate = ssl.SSLCertVerificationError(1, "noise")
    certificate.verify_message = "certificate has expired"
    middle = httpcore.ConnectError("")
    middle.__cause__ = certificate
    top = httpx.ConnectError("")
    top.__cause__ = middle
    assert str(error_of(top)) == (
        "exchange unavailable: no connection: SSLCertVerificationError: certificate has expired"
    )


def test_an_error_without_words_is_named() -> None:
    with warnings.catch_warnings():
        assert str(error_of(httpx.ReadTimeout(""))) == "exchange unavailable: silence for too long: ReadTimeout"
