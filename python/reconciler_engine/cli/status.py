"""`status`: how the engines stand that run."""

from __future__ import annotations

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import Json, takes_settings


@takes_settings("redis_url", "data_dir")
def status(*, json: Json = False, flags: dict[str, str], config: str | None) -> None:
    """Show what runs: processes, jobs, the request budget, and how far each series is complete.

    \b
    Examples:
      reconciler-engine status
      reconciler-engine status --redis-url redis://localhost:6379 --json

    Without a Redis URL or data directory both default ones are looked at, that of `start` and that of
    `start --simulate`. With --json an object a line, one for each engine. Exit code 69: nothing runs.
    """
    from reconciler_engine.cli.status_answer import show_status

    with reported_errors():
        show_status(flags, config, as_json=json)
