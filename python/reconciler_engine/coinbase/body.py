"""A body of bounded size, before and after decompression. Pure."""

from __future__ import annotations

import zlib

from reconciler_engine.errors import BadResponse

ACCEPT_ENCODING = "gzip"
"""Codings that requests offer. Candles shrink to about a fifth; others are refused: one decoder, one bound."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class BoundedBody:
    """Collects a body chunk by chunk and refuses one that grows past a limit.

    The limit holds for the bytes received and for the bytes they decompress to, so that neither an endless body nor
    a small one that expands takes more memory than twice the limit.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        """Begin a body.

        Args:
            encoding: The answer's Content-Encoding; empty, `identity` or `gzip`.
            limit: Most bytes, above 0.

        Raises:
            BadResponse: The encoding is another one.
        """
        coding = encoding.strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip"):
            raise BadResponse(f"content encoding {coding[:40]!r}; asked for {ACCEPT_ENCODING}")
        self._unzip = zlib.decompressobj(_GZIP_WINDOW) if coding.endswith("gzip") else None
        self._limit = limit
        self._received = 0
        self._content = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Add the next bytes received.

        Raises:
            BadResponse: A limit is passed, or the bytes are not gzip.
        """
        self._received += len(chunk)
        if self._received > self._limit:
            raise BadResponse(f"body of more than {self._limit} bytes")
        if self._unzip is None:
            self._content += chunk
            return
        try:
            # One byte more than may be kept tells a full body from a larger one.
            self._content += self._unzip.decompress(chunk, self._limit + 1 - len(self._content))
        except zlib.error as error:
            raise BadResponse(f"invalid gzip: {error}") from error
        if len(self._content) > self._limit:
            raise BadResponse(f"body of more than {self._limit} bytes, decompressed")
        if self._unzip.unused_data:
            raise BadResponse("bytes after the end of the gzip body")

    def finish(self) -> bytes:
        """Return the body, decompressed.

        Raises:
            BadResponse: The gzip body ended too early.
        """
        if self._unzip is not None and self._received and not self._unzip.eof:
            raise BadResponse(f"gzip body truncated after {self._received} bytes")
        return bytes(self._content)
