"""Lengths that a reply announces, however its bytes are cut, and bytes that only look like lengths."""

from __future__ import annotations

import pytest

from reconciler_engine.errors import StoreError
from reconciler_engine.store.client.announced import MOST_ELEMENTS, AnnouncedLengths

BOMBS = [
    b"*1000000000\r\n",
    b"%9999999\r\n",
    b"~123456789012345678901234567890\r\n",
    b">10000000\r\n",
    b"*+1000000000\r\n",
]
HARMLESS = [
    b"$21\r\n{*1000000000\r\n*9999999\r\n",
    b"*2\r\n$11\r\n*1000000000\r\n:5\r\n",
    b"*1000000\r\n",
    b"*0000001\r\n:1\r\n",
    b":1000000000\r\n",
    b"+*1000000000\r\n",
    b"$-1\r\n*-1\r\n",
]


def check(data: bytes, cut: int) -> None:
    lengths = AnnouncedLengths()
    for piece in (data[:cut], data[cut:]):
        lengths.check(piece)


@pytest.mark.parametrize("before", [b"", b"+OK\r\n", b"*2\r\n$3\r\nabc\r\n", b"$13\r\n{*1000000000}\r\n"])
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_large_length_is_refused_wherever_its_bytes_are_cut(before, bomb):
    for cut in range(len(before + bomb)):
        with pytest.raises(StoreError, match=f"elements; allowed: {MOST_ELEMENTS}"):
            check(before + bomb, cut)


@pytest.mark.parametrize("data", HARMLESS)
def test_what_only_looks_so_is_none(data):
    for cut in range(len(data)):
        check(data, cut)


def test_replies_are_followed_from_the_first_to_the_last():
    lengths = AnnouncedLengths()
    lengths.check(b"$13\r\n{*1000000000}\r\n" * 3)
    lengths.check(b"*1\r\n$100\r\n" + b"*9999999\r\n" * 10 + b"\r\n")
    with pytest.raises(StoreError):
        lengths.check(b"*9999999\r\n")
