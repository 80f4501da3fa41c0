"""One verdict on a member: by the scan (native, pure), by the merge and by the ready gate's script."""

from __future__ import annotations

import json
import time
from importlib.resources import files
from random import Random

import pytest
from tests.parity import json_cases

from reconciler_engine.detection.members import Members, check_members_pure, native_checker
from reconciler_engine.market.candle import Candle
from reconciler_engine.market.series import Series
from reconciler_engine.market.timeframe import Timeframe
from reconciler_engine.store.candles import CandleStore
from reconciler_engine.store.ready_question import READY_TEXT
from reconciler_engine.store.retention import Retention
from reconciler_engine.store.scope import Scope

SERIES = Series("BTC-USD", Timeframe.M5)
STEP = SERIES.timeframe.step_ms
FIRST = 1_725_000_000_000
SCOPE = Scope(1, 1, "")
KEY = SCOPE.candle_key(SERIES)
KIND_TEXT = f"""{files("reconciler_engine.store").joinpath("lua/candle.lua").read_text()}
local kind_of, kinds = rule_of('BTC-USD', '5m', {STEP}), {{}}
for i = 1, #ARGV, 2 do kinds[#kinds + 1] = kind_of(ARGV[i], ARGV[i + 1]) or 'other' end
return kinds"""


def at(slot: int) -> int:
    return FIRST + slot * STEP


def feeder_member(random: Random, open_time: int) -> dict[str, object]:
    """A member as feeder.md's writers make them: live, from trades, fetched, filled in."""
    scale = random.choice((1e-7, 1e-3, 1, 100, 65_000))
    low, *middle, high = sorted(round(scale * random.uniform(0.9, 1.1), random.choice((2, 8))) or scale for _ in "lmmh")
    member: dict[str, object] = {
        "timestamp": open_time, "open": middle[0], "high": high, "low": low, "close": middle[1],
        "volume": random.choice((0, 5, random.random() * 10, round(random.random() * 100, 8))),
        "symbol": "BTC-USD", "timeframe": "5m",
    }  # fmt: skip
    if random.random() < 0.1:
        member |= dict.fromkeys(("open", "high", "low", "close"), low)
    more = {
        "isSynthetic": random.random() < 0.5,
        "exchange": "coinbase",
        "exchangeTimestamp": open_time + random.randrange(STEP),
        "sequenceNum": random.randrange(10**6),
    }
    return member | {name: value for name, value in more.items() if random.random() < 0.6}


TOKENS = [
    *("NaN", "-Infinity", "Infinity", "0x1F", "1e999", "-0", "-0.0", "0", "0.0", "00", "01", "1.", ".5", "+1"),
    *("1e3", "1e", "1e-999", "1e308", "-1", '"1"', "null", "true", "false", "{}", "[]", "[1,]", '{"a":1}'),
    *('"\\ud800"', '"\\x"', ""),
]
PIECES = [
    *(bytes([sign]) for sign in b'"\\{}[],:.e-+019 \t\n\0\x1f\x7f\xc3\xa9\xff/x' + b"'"),
    *(b"", b"\xef\xbb\xbf", b"\\u0030", b"\\u"),
]


def mutated(random: Random, open_time: int) -> bytes:
    """A member by a real writer, once in ten as it is, else changed in up to three places."""
    fields = feeder_member(random, open_time)
    compact = (",", ":") if random.random() < 0.6 else None
    texts = {name: json.dumps(value) for name, value in fields.items()}
    changes = random.choice((0, 1, 1, 1, 1, 1, 2, 2, 3, 3))
    for _ in range(changes):
        if random.random() < 0.5:
            texts[random.choice(list(texts))] = random.choice(TOKENS)
    comma, colon = compact or (", ", ": ")
    pairs = [f'"{name}"{colon}{text}' for name, text in texts.items()]
    if changes and random.random() < 0.2:
        random.shuffle(pairs)
    if changes and random.random() < 0.2:
        pairs.append(f'"{random.choice(["open", "vwap", "isSynthetic", "symbol"])}"{colon}{random.choice(TOKENS)}')
    member = f"{{{comma.join(pairs)}}}".encode()
    for _ in range(changes):
        if random.random() < 0.5:
            place, length = random.randrange(len(member) + 1), random.choice((0, 0, 1, 1, 2, 9))
            member = member[:place] + random.choice((*PIECES, member[place : place + 8])) + member[place + length :]
    return member


async def verdicts(redis, members: list[bytes]) -> list[dict[str, bool]]:
    """Return the verdict of each of the four on each member, laid into slots one after the other."""
    # The same text cannot stand in two slots.
    slots = {member: slot for slot, member in enumerate(members) if member}
    assert len(slots) == len(members), "a member is empty or comes twice"
    await redis.delete(KEY)
    for start in range(0, len(members), 1_000):
        part = members[start : start + 1_000]
        await redis.execute_command("ZADD", KEY, *(one for text in part for one in (at(slots[text]), text)))
    reply = [one for slot, member in enumerate(members) for one in (member, b"%d" % at(slot))]
    native, pure = native_checker()(reply, "BTC-USD", "5m", STEP), check_members_pure(reply, "BTC-USD", "5m", STEP)
    assert [column.tolist() for column in native] == [column.tolist() for column in pure]
    gate = await ask_gate(redis, len(members))
    await check_kinds(redis, reply, native)
    merged = await ask_merge(redis, len(members))
    # A filler leaves its slot absent.
    scanned = [set(found.timestamps) - set(found.fillers) for found in (native, pure)]
    return [
        {
            "native": at(slot) in scanned[0],
            "pure": at(slot) in scanned[1],
            "merge": slot in merged,
            "gate": slot in gate,
        }
        for slot in range(len(members))
    ]


async def ask_gate(redis, slots: int) -> set[int]:
    sha = await redis.execute_command("SCRIPT LOAD", READY_TEXT)
    ready = []
    for start in range(0, slots, 500):
        now = time.time_ns() // 1_000_000
        # The grace that makes a slot the newest closed one, for half a bar from now on.
        part = range(start, min(start + 500, slots))
        graces = [now - at(slot) - STEP - STEP // 2 for slot in part]
        ready += await redis.pipe([("EVALSHA", sha, 1, KEY, 1, grace, "any") for grace in graces])
    assert set(ready) <= {0, 1}
    return {slot for slot, said in enumerate(ready) if said}


async def ask_merge(redis, slots: int) -> set[int]:
    """A candle is offered for every slot: it goes in where the merge sees none."""
    offered = [Candle(at(slot), 3, 4, 2, 3, 123.456) for slot in range(slots)]
    outcome = await CandleStore(redis, SCOPE).merge(SERIES, offered, Retention(0, 0), announce=False)
    assert len(outcome.inserted) + len(outcome.differing) == slots
    return {(open_time - FIRST) // STEP for open_time in outcome.differing}


async def check_kinds(redis, reply: list[bytes], found: Members) -> None:
    """The Lua rule tells fillers from other candles as the scan does."""
    kinds = []
    for start in range(0, len(reply), 4_000):
        kinds += await redis.execute_command("EVAL", KIND_TEXT, 0, *reply[start : start + 4_000])
    fillers, candles = set(found.fillers), set(found.timestamps)
    wanted = {True: b"filler", False: b"candle"}
    assert kinds == [
        wanted[at(slot) in fillers] if at(slot) in candles else b"other" for slot in range(len(reply) // 2)
    ]


def mutants(count: int, seed: int) -> list[bytes]:
    random = Random(seed)
    members: dict[bytes, None] = {}
    while len(members) < count:
        member = mutated(random, at(len(members)))
        if member:
            members[member] = None
    return list(members)


async def check_mutants(redis, seed: int) -> None:
    members = mutants(6_000, seed)
    found = await verdicts(redis, members)
    assert [(text, said) for text, said in zip(members, found, strict=True) if len(set(said.values())) > 1] == []
    # Both verdicts are frequent, or the mutations are useless; half of the accepted ones are fillers.
    candles = sum(said["gate"] for said in found)
    assert 1_000 < candles < 4_500


async def test_one_verdict_on_6000_mutated_members(redis):
    await check_mutants(redis, 0)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
async def test_one_verdict_on_60000_mutated_members(redis, seed):
    await check_mutants(redis, seed)


GOOD = (
    '{"timestamp":%d,"open":61234.5,"high":61250.25,"low":61200,"close":61240.75,"volume":1.5,'
    '"symbol":"BTC-USD","timeframe":"5m"}'
)
# Where a value of the grammar goes: into fields that nobody reads, in the usual place or not.
PLACES = {
    "another": ("}", ',"x":?}'),
    "first": ("{", '{"x":?,'),
    "name": ("}", ',"exchange":?}'),
    "number": ("}", ',"exchange":"coinbase","exchangeTimestamp":?,"sequenceNum":7}'),
    "last": ("}", ',"sequenceNum":?}'),
    "mark": ("}", ',"isSynthetic":?}'),
}


def grammar_cases() -> list[tuple[bytes, bool]]:
    """Members with their verdict; `%d` stands for the open time."""
    cases = []
    for place in PLACES.values():
        text = GOOD.replace(*place)
        # Marked as synthetic it is a filler.
        fillers = {text.replace("?", "true")} if place is PLACES["mark"] else set()
        members = [text.replace("?", value) for value in json_cases.VALUES]
        cases += [(member.encode(), member not in fillers) for member in members]
        cases += [(text.replace("?", value).encode(), False) for value in json_cases.NO_VALUES]
        quoted = text.encode().replace(b"?", b'"?"')
        cases += [(quoted.replace(b"?", value), True) for value in json_cases.BYTES]
        cases += [(quoted.replace(b"?", value), False) for value in json_cases.NO_BYTES]
    for field, least in (("volume", "1.5"), ("open", "61234.5"), ("close", "61240.75")):
        text = GOOD.replace(f'"{field}":{least}', f'"{field}":?')
        for value in json_cases.VALUES:
            is_allowed = value in json_cases.NUMBERS and (float(value) > 0 or (field == "volume" and float(value) == 0))
            cases.append((text.replace("?", value).encode(), is_allowed))
        cases += [(text.replace("?", value).encode(), False) for value in json_cases.NO_VALUES]
    # The whole text: no value by itself is a candle of this slot.
    around = [f"{before}{GOOD}{after}" for before in ("", " \t\r\n") for after in ("", " \n")]
    cases += [(text.encode(), True) for text in around]
    spoilt = ("\ufeff{}", "{}\x00", "{},", "{}{}", "[{}]", "{} x", "\x0b{}", "{", "}", "({})", "//\n{}", '"{}"')
    cases += [(text.replace("{}", GOOD).encode(), False) for text in spoilt]
    cases += [(GOOD.encode(encoding), False) for encoding in ("utf-16", "utf-16-le", "utf-32-be")]
    return cases


async def test_one_verdict_on_the_grammar_of_json(redis):
    cases: dict[bytes, bool] = {}
    for text, verdict in grammar_cases():
        member = text.replace(b"%d", b"%d" % at(len(cases)))
        cases[member] = verdict
    found = await verdicts(redis, list(cases))
    wrong = [
        (text, said)
        for (text, verdict), said in zip(cases.items(), found, strict=True)
        if set(said.values()) != {verdict}
    ]
    assert wrong == []
