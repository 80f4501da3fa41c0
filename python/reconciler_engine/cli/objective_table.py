"""The objective in the answer of `status`, for people and for programs."""

from __future__ import annotations

from typing import Any

from reconciler_engine.cli.output import print_table, say
from reconciler_engine.observe.objective import WINDOWS, Objective, share_in_words


def as_object(objective: Objective) -> dict[str, Any]:
    """Return the JSON object: for each timeframe the error budget left, and bars, share and burn of each window."""
    return {
        frame: {
            "error_budget_left": objective.budget_left(frame),
            "windows": {
                window.name: {
                    **objective.of(frame, window.name)._asdict(),
                    "share": objective.share(frame, window.name),
                    "burn": objective.burn(frame, window.name),
                }
                for window in WINDOWS
            },
        }
        for frame in objective.frames
    }


def print_objective(objective: Objective) -> None:
    """Print the objective, and a row for each timeframe."""
    print()
    say(f"objective: {objective.in_words()}")
    rows = [
        (
            frame,
            *(share_in_words(objective.share(frame, window.name)) for window in WINDOWS),
            share_in_words(objective.budget_left(frame)),
            *(f"{objective.burn(frame, window.name):.1f}" for window in WINDOWS[:-1]),
            str(objective.of(frame, WINDOWS[-1].name).waiting),
        )
        for frame in objective.frames
    ]
    windows = [window.name for window in WINDOWS]
    heads = ("timeframe", *windows, "error budget left", *(f"burn {name}" for name in windows[:-1]), "waiting")
    if rows:
        print_table(heads, rows)
