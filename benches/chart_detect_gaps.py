"""The README's picture of detect_gaps, drawn from recorded numbers by `python -m benches.table_detect_gaps --record`.

Two bars a workload, ours and the fastest peer's, as multiples of the time NumPy takes to add the same values up: the
read limit. It is plain text, so that it shows wherever the README does.
"""

from __future__ import annotations

from typing import Any

SHOWN = ("none", "gaps10", "rand0.1", "rand10", "alt", "dups", "dirty", "offgrid", "pages", "reversed", "shuffled")
POINTS = 10_000_000
# Signs of a bar a multiple, and the multiples that fit; a longer bar is torn.
SCALE, MOST = 3, 16


def bar(name: str, sign: str, ratio: float, words: str) -> str:
    length = max(1, round(min(ratio, MOST) * SCALE))
    return f"{name:<9} {sign * length}{'»' if ratio > MOST else ''} {ratio:.1f}{words}"


def chart(recorded: dict[str, Any]) -> str:
    by_name = {result["workload"]: result for result in recorded["results"] if result["points"] == POINTS}
    lines = []
    for name in (name for name in SHOWN if name in by_name):
        result, peer = by_name[name], by_name[name]["best_peer"]
        lines.append(bar(name, "█", result["ours_s"] / result["limit_s"], ""))
        lines.append(bar("", "░", result["peers_s"][peer] / result["limit_s"], f"  {peer}"))
    machine = recorded["machine"]
    lines.append(f"{machine['processor']}, {machine['cores']} cores, {machine['memory']}; one thread of ours")
    return "\n".join(lines)
