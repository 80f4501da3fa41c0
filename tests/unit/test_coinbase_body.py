"""Bodies stay bounded."""

from __future__ import annotations

import gzip
import zlib

import pytest

from reconciler_engine.coinbase.body import BoundedBody
from reconciler_engine.errors import BadResponse

TEXT = b'{"candles":[]}'


def collect(encoding: str, body: bytes, limit: int = 1_000, size: int = 7) -> bytes:
    bounded = BoundedBody(encoding, limit)
    for start in range(0, len(body), size):
        bounded.feed(body[start : start + size])
    return bounded.finish()


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_plain(encoding: str) -> None:
    assert collect(encoding, TEXT) == TEXT


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_gzip(encoding: str, size: int) -> None:
    assert collect(encoding, gzip.compress(TEXT), size=size) == TEXT


def test_an_empty_body_is_empty_whatever_its_encoding() -> None:
    assert collect("gzip", b"") == b""


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip,br", "x" * 500])
def test_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(BadResponse, match="content encoding") as refused:
        BoundedBody(encoding, 10)
    assert len(str(refused.value)) < 120


@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_the_limit_itself_passes_and_a_byte_more_does_not(encoding: str) -> None:
    def pack(body: bytes) -> bytes:
        return gzip.compress(body) if encoding else body

    assert collect(encoding, pack(b"x" * 1_000)) == b"x" * 1_000
    with pytest.raises(BadResponse, match="more than 1000 bytes"):
        collect(encoding, pack(b"x" * 1_001))


@pytest.mark.parametrize("size", [1, 10_000_000])
def test_a_bomb_is_never_unpacked(size: int) -> None:
    bomb = gzip.compress(b"\0" * 1_000_000, 9)
    with pytest.raises(BadResponse, match="more than 50000 bytes, decompressed"):
        collect("gzip", bomb, 50_000, size)


def test_received_bytes_are_bounded_too() -> None:
    # Stored blocks of nothing: they go on for ever and decompress to nothing.
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)
    body = packer.compress(b"") + b"\x00\x00\x00\xff\xff" * 10_000
    with pytest.raises(BadResponse, match="more than 1000 bytes"):
        collect("gzip", body)


@pytest.mark.parametrize("body", [TEXT, b"\x1f\x8b" + b"\xff" * 30, zlib.compress(TEXT)])
def test_what_is_no_gzip_is_refused(body: bytes) -> None:
    with pytest.raises(BadResponse, match="invalid gzip") as refused:
        collect("gzip", body)
    assert isinstance(refused.value.__cause__, zlib.error)


def test_a_wrong_checksum_is_refused() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-5] ^= 1
    with pytest.raises(BadResponse, match="invalid gzip"):
        collect("gzip", bytes(packed))


@pytest.mark.parametrize("cut", [1, 8, 20])
def test_a_truncated_gzip_is_refused(cut: int) -> None:
    with pytest.raises(BadResponse, match="truncated"):
        collect("gzip", gzip.compress(TEXT)[:-cut])


@pytest.mark.parametrize("size", [1, 10_000])
def test_bytes_after_the_end_are_refused(size: int) -> None:
    with pytest.raises(BadResponse, match="after the end"):
        collect("gzip", gzip.compress(TEXT) + b"more", size=size)
