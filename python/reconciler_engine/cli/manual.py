"""`manual`: shows the pages of the manual, which are part of the package."""

from __future__ import annotations

from importlib.resources import files

import click

from reconciler_engine.cli.output import paged, print_columns, say

PAGES = {
    page.name.removesuffix(".md"): page
    for page in sorted(files("reconciler_engine").joinpath("manual").iterdir(), key=lambda page: page.name)
}
"""Files of the manual by topic."""


@click.command()
@click.argument("topic", required=False, type=click.Choice(list(PAGES)), metavar="[TOPIC]")
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
