"""`completion`: scripts with which shells complete the command line."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

PROGRAM = "reconciler-engine"
SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the script that lets a shell complete the command line.

    \b
    Examples:
      reconciler-engine completion bash > ~/.local/share/bash-completion/completions/reconciler-engine
      reconciler-engine completion zsh > ~/.zfunc/_reconciler-engine
      reconciler-engine completion fish > ~/.config/fish/completions/reconciler-engine.fish

    If the package bash-completion is installed, bash loads such a file by itself; otherwise, source it in ~/.bashrc.
    zsh needs `fpath+=~/.zfunc` before `compinit` in ~/.zshrc.
    """
    script_of = get_completion_class(shell)
    if script_of is None:
        raise click.UsageError(f"click writes no script for {shell}", ctx)
    variable = f"_{PROGRAM.replace('-', '_').upper()}_COMPLETE"
    print(script_of(ctx.find_root().command, {}, PROGRAM, variable).source())
