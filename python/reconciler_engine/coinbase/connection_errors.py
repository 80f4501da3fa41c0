"""Maps connection failures of httpx to errors of the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError

import httpx

from reconciler_engine.coinbase.refusals import excerpt
from reconciler_engine.errors import BadResponse, SourceError, SourceUnavailable

# The first matching row is used, so subclasses come before their base classes.
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

# Raised only for wrong use of httpx, which is a defect of this package: not mapped, so that it is not retried.
DEFECTS: tuple[type[Exception], ...] = (httpx.StreamError, httpx.HTTPStatusError)


@contextmanager
def mapped() -> Iterator[None]:
    """Convert a failure of httpx in the block to `SourceUnavailable` or `BadResponse`, with its cause."""
    try:
        yield
    except Exception as error:
        known = error_of(error)
        if known is None:
            raise
        raise known from error


def error_of(error: Exception) -> SourceError | None:
    """Return the engine's error for a failure of httpx, or None for any other error."""
    for upstream, ours, meaning in MAPPING:
        if isinstance(error, upstream):
            return ours(f"{meaning}: {_root(error)}")
    return None


def _root(error: Exception) -> str:
    """Return the text of the deepest cause that is an OSError, or else the error's own text."""
    said = excerpt(str(error))
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            # The text of an SSLError contains a line number of OpenSSL's source; use the reason instead.
            detail = getattr(cause, "verify_message", "") or (cause.reason if isinstance(cause, SSLError) else None)
            said = excerpt(f"{type(cause).__name__}: {detail or cause.strerror or cause}")
        # Of several attempts, such as one for each address, follow only the first.
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
    return said or type(error).__name__
