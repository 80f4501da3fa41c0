"""Files of thirty shapes that people name like candle files, drawn by a seed."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable
from random import Random

HEADER = "start_ms,open,high,low,close,volume\n"
T0 = 1_767_225_600_000
MINUTE = 60_000
NAMES = [
    "BTC-USD_1m.csv",
    "ETH-USD_5m.csv.gz",
    "SOL-USD_1h_x.csv",
    "X-Y_1d.csv",
    "BTC-USD_1m_\x1b[2J.csv",
    "a_\r1m.csv",
]


def rows(random: Random, *, step: int = MINUTE, unit: int = 1, shift: int = 0, most: int = 400) -> list[str]:
    count = random.randrange(1, most)
    bars = sorted(random.sample(range(2 * count), count))
    made = []
    for bar in bars:
        low, first, last, high = sorted(round(random.uniform(0.01, 1e5), random.randrange(5)) + 0.01 for _ in range(4))
        start = (T0 + bar * step + shift) * 1_000_000 // unit
        made.append(f"{start},{first},{high},{low},{last},{random.random():.6f}\n")
    return made


def csv(lines: list[str], header: str = HEADER) -> bytes:
    return (header + "".join(lines)).encode()


def flipped(random: Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(random.randrange(1, 1 + max(1, len(changed) // 50))):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def zipped(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)
    return held.getvalue()


def spoilt(random: Random, value: str) -> bytes:
    """Rows some of whose values are another text."""
    lines = []
    for line in rows(random):
        values = line.rstrip().split(",")
        if random.random() < 0.5:
            values[random.randrange(6)] = value
        lines.append(",".join(values) + "\n")
    return csv(lines)


def bomb(random: Random, row: bytes) -> bytes:
    return gzip.compress(csv(rows(random)) + row * (random.randrange(2, 20) * 1_000_000 // len(row)), 6)


SHAPES: dict[str, Callable[[Random], bytes]] = {
    "whole": lambda r: csv(rows(r, unit=1_000_000)),
    "packed": lambda r: gzip.compress(csv(rows(r, unit=1_000_000))),
    "seconds": lambda r: csv(rows(r, unit=1_000_000_000)),
    "microseconds": lambda r: csv(rows(r, unit=1_000)),
    "nanoseconds": lambda r: csv(rows(r, unit=1)),
    "finer": lambda r: csv(rows(r, unit=1_000_000, step=r.choice([1, 1_000, 15_000]))),
    "coarser": lambda r: csv(rows(r, unit=1_000_000, step=MINUTE * r.choice([5, 15, 60, 1_440]))),
    "beside the grid": lambda r: csv(rows(r, unit=1_000_000, shift=r.randrange(1, MINUTE))),
    "repeated": lambda r: csv((made := rows(r, unit=1_000_000)) + r.choices(made, k=len(made))),
    "contradicted": lambda r: csv((made := rows(r, unit=1_000_000)) + [line.replace(".", ".1") for line in made]),
    "shuffled": lambda r: csv(r.sample(made := rows(r, unit=1_000_000), len(made))),
    "noise": lambda r: r.randbytes(r.randrange(1, 20_000)),
    "noise below the header": lambda r: HEADER.encode() + r.randbytes(r.randrange(1, 20_000)),
    "cut": lambda r: gzip.compress(content := csv(rows(r)))[: r.randrange(1, 20 + len(content) // 4)],
    "damaged": lambda r: flipped(r, gzip.compress(csv(rows(r)))),
    "mutated": lambda r: flipped(r, csv(rows(r, unit=1_000_000))),
    "blank bomb": lambda r: bomb(r, b"\n"),
    "row bomb": lambda r: bomb(r, b"60000,1,1,1,1,1\n"),
    "bad bomb": lambda r: bomb(r, b"x,\n"),
    "zip": lambda r: zipped(csv(rows(r))),
    "other packers": lambda r: bz2.compress(csv(rows(r))) if r.random() < 0.5 else lzma.compress(csv(rows(r))),
    "binary columns": lambda r: r.choice([b"PAR1", b"\x28\xb5\x2f\xfd", b"ARROW1\0\0"]) + r.randbytes(5_000),
    "utf-16": lambda r: csv(rows(r)).decode().encode(r.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32"])),
    "marked and of Windows": lambda r: b"\xef\xbb\xbf" + csv(rows(r, unit=1_000_000)).replace(b"\n", b"\r\n"),
    "without a header": lambda r: csv(rows(r, unit=1_000_000), header=""),
    "other signs": lambda r: csv(rows(r)).replace(b",", r.choice([b";", b"\t", b"|", b", ", b"\0", b"\x1b[2J"])),
    "endless lines": lambda r: HEADER.encode() + r.choice([b"1", b",", b"\0", b"9,"]) * r.randrange(900, 500_000),
    "no numbers": lambda r: spoilt(r, r.choice(["nan", "inf", "-1", "", "1e999", "0x10", "1_0", "\x1b[31m", "'1'"])),
    "vast numbers": lambda r: spoilt(r, r.choice(["9" * 15, "9" * 19, "9" * 400, "1e308", "1" + "0" * 500])),
    "far apart": lambda r: csv([f"{r.randrange(10**15) // MINUTE * MINUTE},1,1,1,1,1\n" for _ in range(50)]),
    "objects": lambda r: json.dumps([{"start": T0, "open": r.random()}] * r.randrange(1, 500)).encode(),
    "nearly nothing": lambda r: r.choice([b"", b"\n", HEADER.encode(), HEADER.encode() * 500, b"\x1f\x8b", b"\0" * 99]),
}


def draw(number: int) -> tuple[str, str, bytes]:
    """The shape, name and content of a file, the same for the same number; the first of each shape has a usual name."""
    random = Random(number)
    shape = list(SHAPES)[number % len(SHAPES)]
    name = random.choice(NAMES)
    return shape, name if number >= len(SHAPES) else NAMES[0], SHAPES[shape](random)
