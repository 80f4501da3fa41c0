"""Decompresses a response body of bounded size. Pure."""

from __future__ import annotations

import zlib

from reconciler_engine.errors import BadResponse

ACCEPT_ENCODING = "gzip"
"""The only content coding that requests accept; it shrinks candles to about a fifth."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class BoundedBody:
    """Collects a body chunk by chunk, and refuses a body over a limit.

    The limit applies to the bytes received and to the decompressed bytes, so that an endless body or a gzip bomb takes
    at most twice the limit of memory.
    """

    def __init__(self, encoding: str, limit: int) -> None:
        """Create an empty body.

        Args:
            encoding: The answer's Content-Encoding: empty, `identity`, `gzip` or `x-gzip`.
            limit: Most bytes, above 0.

        Raises:
            BadResponse: The answer has another encoding.
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
            BadResponse: The body exceeds the limit, is not valid gzip, or has bytes after the end of its gzip data.
        """
        self._received += len(chunk)
        if self._received > self._limit:
            raise BadResponse(f"body of more than {self._limit} bytes")
        if self._unzip is None:
            self._content += chunk
            return
        try:
            # Ask for one byte over the limit, to notice a body that is too large.
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
            BadResponse: The gzip data is incomplete.
        """
        if self._unzip is not None and self._received and not self._unzip.eof:
            raise BadResponse(f"gzip body truncated after {self._received} bytes")
        return bytes(self._content)
