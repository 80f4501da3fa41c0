"""Draw the picture of the README from recorded numbers.

    python -m benches.table_detect_gaps --points 1e7 --json results.json
    python -m benches.chart_detect_gaps results.json benches/detect_gaps.svg

A bar a workload and contestant, as multiples of the time NumPy takes to add the same values up: the read limit.
"""

from __future__ import annotations

import argparse
import json
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LABEL, BAR, GAP, TOP = 760, 120, 15, 12, 76
COLORS = {"ours": "#1f6feb", "peer": "#9aa4b1"}
SHOWN = ("none", "gaps10", "rand0.1", "rand10", "dups", "dirty", "offgrid", "pages", "shuffled", "reversed", "alt")


def text(x: float, y: float, words: str, **attributes: str) -> str:
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.0f}" y="{y:.0f}"{extra}>{escape(words)}</text>'


def bars(result: dict[str, Any], y: int, scale: float) -> list[str]:
    limit, peer = result["limit_s"], result["best_peer"]
    drawn = [text(LABEL - 8, y + BAR + 4, result["workload"], text_anchor="end")]
    for row, (kind, name, taken) in enumerate(
        [("ours", "detect_gaps", result["ours_s"]), ("peer", peer, result["peers_s"][peer])]
    ):
        ratio, at = taken / limit, y + row * BAR
        length = min(ratio, 1000) * scale
        cut = min(length, WIDTH - LABEL - 190)
        drawn.append(f'<rect x="{LABEL}" y="{at}" width="{cut:.1f}" height="{BAR - 2}" fill="{COLORS[kind]}"/>')
        torn = " »" if cut < length else ""
        words = f"{torn} {taken * 1e3:.2f} ms, {ratio:.1f}x  {name}"
        drawn.append(text(LABEL + cut + 4, at + BAR - 4, words, fill="#57606a"))
    return drawn


def chart(recorded: dict[str, Any]) -> str:
    points = max(result["points"] for result in recorded["results"])
    by_name = {result["workload"]: result for result in recorded["results"] if result["points"] == points}
    results = [by_name[name] for name in SHOWN if name in by_name]
    scale = (WIDTH - LABEL - 190) / 20
    height = TOP + len(results) * (2 * BAR + GAP) + 8
    machine = ", ".join(f"{name} {value}" for name, value in recorded["machine"].items())
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"',
        ' font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(12, 22, f"Finding the gaps of {points:,} expected candles", font_size="15", font_weight="bold"),
        text(12, 40, "blue: detect_gaps; grey: the fastest peer; as multiples of one pass over the memory (dashed)"),
        text(12, 56, machine, fill="#57606a"),
    ]
    for row, result in enumerate(results):
        lines += bars(result, TOP + row * (2 * BAR + GAP), scale)
    at = LABEL + scale
    lines.append(
        f'<line x1="{at:.1f}" y1="{TOP - 6}" x2="{at:.1f}" y2="{height - 6}" stroke="#cf222e" stroke-dasharray="3 3"/>'
    )
    return "\n".join([*lines, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recorded", type=Path, help="written by table_detect_gaps --json")
    parser.add_argument("picture", type=Path)
    options = parser.parse_args()
    options.picture.write_text(chart(json.loads(options.recorded.read_text())))


if __name__ == "__main__":
    main()
