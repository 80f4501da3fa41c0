"""`config`: what is set, whether a settings file is in order, and a file to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.options import START_SETTINGS, Json, takes_settings

app = typer.Typer(
    help="""Show, check or begin a configuration.

    \b
    Examples:
      reconciler-engine config init reconciler.toml
      reconciler-engine config check reconciler.toml
      reconciler-engine config show --config reconciler.toml
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("show")
@takes_settings(*START_SETTINGS)
def show(*, json: Json = False, flags: dict[str, str], config: str | None) -> None:
    """Show every setting's effective value and where it came from; what is secret is masked.

    \b
    Examples:
      reconciler-engine config show
      reconciler-engine config show --config reconciler.toml --workers 4 --json
    """
    from reconciler_engine.cli.config_show import show_config

    with reported_errors():
        show_config(flags, config, as_json=json)


@app.command("check")
def check(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Settings file (TOML).")],
    *,
    json: Json = False,
) -> None:
    """Check a settings file by itself, without flags and environment; the key file it names, too.

    \b
    Examples:
      reconciler-engine config check reconciler.toml

    Names every fault; exit code 78 if there is one.
    """
    from reconciler_engine.cli.config_show import check_file

    with reported_errors():
        check_file(file, as_json=json)


@app.command("init")
def init(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to; without one standard output.")
    ] = None,
) -> None:
    """Write a settings file in which every setting is explained; nothing is overwritten.

    \b
    Examples:
      reconciler-engine config init reconciler.toml
      reconciler-engine config init | less
    """
    from reconciler_engine.cli.config_init import write_template

    with reported_errors():
        write_template(file)
