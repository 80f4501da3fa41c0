"""Requests as strangers, broken proxies and scanners send them: mutants of good ones, drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

_PATHS = (
    b"/",
    b"/coverage",
    b"/ready",
    b"/livez",
    b"/readyz",
    b"/metrics",
    b"/style.css",
    b"/none",
    b"*",
    b"http://localhost/livez",
)
_METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"get", b"PRI", b"TRACE")
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.2", b"ICY/1.1", b"")
_HEADERS = (
    b"content-length: 1", b"content-length: 0", b"content-length: -1", b"content-length: 1, 1", b"content-length: 9e9",
    b"content-length: 99999999999999999999999", b"transfer-encoding: chunked", b"transfer-encoding: gzip",
    b"expect: 100-continue", b"upgrade: websocket", b"upgrade: h2c", b"connection: close", b"connection: upgrade",
    b"connection: keep-alive", b"host: evil.example", b"host: localhost", b"authorization: Bearer x", b"accept: */*",
    b"accept: application/openmetrics-text; version=9.9.9", b"range: bytes=0-1", b"x: " + b"y" * 300,
    b"accept-encoding: *",
    b"cookie: a=b", b"te: trailers", b" folded", b"no colon", b": no name", b"caf\xc3\xa9: \xff\x80", b"accept: \x01",
)  # fmt: skip
_BODIES = (
    b"",
    b"x",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"zz\r\n",
    b"\x00" * 40,
    b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
)
_ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"")
_BYTES = (b"\x00", b"\r", b"\n", b" ", b":", b"\xff", b"\t", b"/", b"?", b"%")


def mutants(count: int, seed: int) -> Iterator[list[bytes]]:
    """Yield what a client says on one connection, in the pieces it is sent in."""
    random = Random(seed)
    for _ in range(count):
        said = b"".join(_request(random) for _ in range(random.choice((1, 1, 1, 2, 3))))
        for _ in range(random.choice((0, 0, 0, 1, 2))):
            said = _spoil(random, said)
        cuts = sorted(random.randrange(len(said) + 1) for _ in range(random.choice((0, 0, 1, 3))))
        yield [said[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(said)], strict=True)]


def _request(random: Random) -> bytes:
    method = random.choice(_METHODS) if random.random() < 0.3 else random.choice((b"GET", b"HEAD"))
    version = random.choice(_VERSIONS) if random.random() < 0.2 else b"HTTP/1.1"
    headers = [b"host: localhost"] if random.random() < 0.95 else []
    headers += random.choices(_HEADERS, k=random.choice((0, 0, 1, 1, 3)))
    end = random.choice(_ENDS)
    head = end.join([b" ".join((method, random.choice(_PATHS), version)), *headers])
    return head + end + end + (random.choice(_BODIES) if random.random() < 0.4 else b"")


def _spoil(random: Random, said: bytes) -> bytes:
    at = random.randrange(len(said) + 1)
    match random.randrange(5):
        case 0:
            return said[:at]
        case 1:
            return said[:at] + random.choice(_BYTES) + said[at:]
        case 2:
            return said[:at] + said[at + random.randrange(8) :]
        case 3:
            return said[:at] + bytes([random.randrange(256)]) + said[at + 1 :]
        case _:
            return said[:at] + said[max(0, at - random.randrange(60)) :]
