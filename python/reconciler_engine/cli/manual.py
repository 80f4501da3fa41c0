"""`manual`: shows the pages of the manual, which are part of the package."""

from __future__ import annotations

from importlib.resources import files
from typing import Final, NoReturn

import click

from reconciler_engine.cli.output import paged, print_columns, say

PAGES: Final = {
    page.name.removesuffix(".md"): page
    for page in sorted(files("reconciler_engine").joinpath("manual").iterdir(), key=lambda page: page.name)
}
"""Files of the manual by topic."""

_TOPIC_OF: Final = {
    **dict.fromkeys(("cluster", "failover", "sentinel"), "scaling"),
    **dict.fromkeys(("csv", "files", "gaps", "parquet"), "archives"),
    **dict.fromkeys(("acl", "keys", "redis", "symbols"), "layouts"),
    **dict.fromkeys(("journal", "verify"), "repair"),
    **dict.fromkeys(("alerts", "log", "systemd"), "operating"),
    **dict.fromkeys(("changes", "permits", "python"), "library"),
    "backfill": "history",
    "config": "settings",
    "glossary": "words",
    "ready": "trust",
}
"""Topics by words that a reader may look for instead."""


class _Topic(click.Choice[str]):
    """A topic of the manual. Refuses another word with the closest topic."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the topic.

        Raises:
            click.BadParameter: The manual has no such topic; names the closest topic, or all.
        """
        if value not in PAGES:
            self._refuse(value, param, ctx)
        return value

    def _refuse(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> NoReturn:
        from difflib import get_close_matches

        near = get_close_matches(value.lower(), [*PAGES, *_TOPIC_OF], n=1)
        hint = f"did you mean {_TOPIC_OF.get(near[0], near[0])}?" if near else f"topics: {', '.join(PAGES)}"
        self.fail(f"the manual has no topic {value[:60]!r}; {hint}", param, ctx)


@click.command()
@click.argument("topic", required=False, type=_Topic(list(PAGES)), metavar="[TOPIC]")
def manual(*, topic: str | None) -> None:
    """Show a page of the manual, or the list of its pages.

    \b
    Examples:
      reconciler-engine manual
      reconciler-engine manual trust
    """
    if topic is None:
        titles = {name: page.read_text("utf-8").partition("\n")[0].removeprefix("# ") for name, page in PAGES.items()}
        print_columns(["topic", "page"], list(titles.items()))
        return
    with paged():
        for line in PAGES[topic].read_text("utf-8").splitlines():
            say(line)
