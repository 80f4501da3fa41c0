"""Failures of the connection, as errors of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError

import httpx

from reconciler_engine.coinbase.refusals import excerpt
from reconciler_engine.errors import BadResponse, SourceError, SourceUnavailable

# The first row that matches counts: subclasses stand before their bases.
MAPPING: tuple[tuple[type[Exception], type[SourceUnavailable | BadResponse], str], ...] = (
    (httpx.ConnectTimeout, SourceUnavailable, "no connection in time"),
    (httpx.ReadTimeout, SourceUnavailable, "silence for too long"),
    (httpx.WriteTimeout, SourceUnavailable, "request not taken in time"),
    (httpx.PoolTimeout, SourceUnavailable, "no free connection in time"),
    (httpx.ConnectError, SourceUnavailable, "no connection"),
    (httpx.NetworkError, SourceUnavailable, "connection broken"),
    (httpx.RemoteProtocolError, SourceUnavailable, "answer is not complete HTTP"),
    (httpx.TransportError, SourceUnavailable, "connection unfit"),
    (httpx.DecodingError, BadResponse, "undecodable body"),
    (httpx.TooManyRedirects, BadResponse, "redirect, not followed"),
    (httpx.InvalidURL, BadResponse, "redirect to an invalid URL, not followed"),
    (httpx.CookieConflict, BadResponse, "conflicting cookies"),
)

# Raised by wrong use of httpx only: a defect of this room, to be seen and not to be retried.
DEFECTS: tuple[type[Exception], ...] = (httpx.StreamError, httpx.HTTPStatusError)


@contextmanager
def mapped() -> Iterator[None]:
    """Raise a failure of httpx inside as `SourceUnavailable` or `BadResponse`, with its cause."""
    try:
        yield
    except Exception as error:
        known = error_of(error)
        if known is None:
            raise
        raise known from error


def error_of(error: Exception) -> SourceError | None:
    """Return the engine's error for a failure of httpx, or None for anything else."""
    for upstream, ours, meaning in MAPPING:
        if isinstance(error, upstream):
            return ours(f"{meaning}: {_root(error)}")
    return None


def _root(error: Exception) -> str:
    """Return the deepest cause that says something: the layers above repeat it or lose it."""
    said = excerpt(str(error))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            # SSLError's own text repeats its source file's line.
            detail = getattr(cause, "verify_message", "") or (cause.reason if isinstance(cause, SSLError) else None)
            said = excerpt(f"{type(cause).__name__}: {detail or cause.strerror or cause}")
        # Of several attempts, such as one an address, the first stands for all.
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    return said or type(error).__name__
