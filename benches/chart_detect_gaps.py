"""The picture of the README, drawn from recorded numbers by `python -m benches.table_detect_gaps --record`.

Two bars a workload, ours and the fastest peer's, as multiples of the time NumPy takes to add the same values up: the
read limit. The picture follows the reader's light or dark colours.
"""

from __future__ import annotations

from html import escape
from textwrap import wrap
from typing import Any

SHOWN = ("none", "gaps10", "rand0.1", "rand10", "alt", "dups", "dirty", "offgrid", "pages", "reversed", "shuffled")
POINTS = 10_000_000
# Pixels: the names on the left, the bars, and room on the right for the words behind the longest bar.
LABEL, BARS, WORDS = 88, 470, 262
WIDTH, BAR, PITCH, TOP = LABEL + BARS + WORDS, 13, 38, 96
# Multiples of the limit that fit; a longer bar is torn.
MOST = 16
# Letters of a line below the bars.
WORDS_A_LINE = 110
STYLE = """
svg { font: 12px system-ui, sans-serif; color-scheme: light dark; }
.paper { fill: #ffffff; } text { fill: #1f2328; } .faint { fill: #59636e; } .grid { stroke: #d1d9e0; }
.ours { fill: #0969da; } .peer { fill: #9198a1; } .limit { stroke: #bc4c00; } .mark { fill: #bc4c00; }
.title { font-size: 16px; font-weight: 600; }
@media (prefers-color-scheme: dark) {
  .paper { fill: #0d1117; } text { fill: #f0f6fc; } .faint { fill: #9198a1; } .grid { stroke: #2f353d; }
  .ours { fill: #4493f8; } .peer { fill: #656c76; } .limit { stroke: #f0883e; } .mark { fill: #f0883e; }
}
"""


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def line(x: float, bottom: float, kind: str, dashes: str) -> str:
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{bottom}" class="{kind}" stroke-dasharray="{dashes}"/>'


def bar(y: int, kind: str, taken: float, limit: float, name: str) -> list[str]:
    ratio = taken / limit
    length = min(ratio, MOST) / MOST * BARS
    words = f"{'» ' if ratio > MOST else ''}{ratio:.1f}x, {taken * 1e3:.3g} ms{name and f', {name}'}"
    return [
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2" class="{kind}"/>',
        text(LABEL + length + 6, y + BAR - 2, words, "" if kind == "ours" else "faint"),
    ]


def chart(recorded: dict[str, Any]) -> str:
    by_name = {result["workload"]: result for result in recorded["results"] if result["points"] == POINTS}
    results = [by_name[name] for name in SHOWN if name in by_name]
    machine = dict(recorded["machine"])
    place = f"{machine.pop('processor')}, {machine.pop('cores')} cores, {machine.pop('memory')}"
    place += f", one thread of ours, load {machine.pop('load')} before"
    below = [place, *wrap(", ".join(f"{name} {version}" for name, version in machine.items()), WORDS_A_LINE)]
    bottom = TOP + len(results) * PITCH
    height = bottom + 12 + 17 * len(below)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>detect_gaps beside its fastest peer, {POINTS:,} expected candles</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" class="paper"/>',
        text(16, 30, f"Finding the gaps of {POINTS:,} expected candles", "title"),
        f'<rect x="16" y="45" width="{BAR}" height="{BAR}" rx="2" class="ours"/>' + text(36, 56, "detect_gaps"),
        f'<rect x="126" y="45" width="{BAR}" height="{BAR}" rx="2" class="peer"/>' + text(146, 56, "the fastest peer"),
        text(262, 56, "shorter is better; as multiples of one pass over the memory", "faint"),
    ]
    for multiple in range(4, MOST + 1, 4):
        at = LABEL + multiple / MOST * BARS
        drawn += [line(at, bottom - 6, "grid", "2 4"), text(at, TOP - 14, f"{multiple}x", "faint", "middle")]
    for row, result in enumerate(results):
        y, peer = TOP + row * PITCH, result["best_peer"]
        drawn.append(text(LABEL - 10, y + BAR + 4, result["workload"], anchor="end"))
        drawn += bar(y, "ours", result["ours_s"], result["limit_s"], "")
        drawn += bar(y + BAR + 1, "peer", result["peers_s"][peer], result["limit_s"], peer)
    at = LABEL + BARS / MOST
    drawn += [
        line(at, bottom - 6, "limit", "4 3"),
        text(at, TOP - 14, "read limit", "mark", "middle"),
        *(text(16, bottom + 14 + 17 * row, words, "faint") for row, words in enumerate(below)),
        "</svg>",
    ]
    return "\n".join(drawn) + "\n"
