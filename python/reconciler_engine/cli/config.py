"""`config`: shows the settings, checks a settings file, or writes one to begin with."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler_engine.cli.exits import CONFIG, FAILURE, leave
from reconciler_engine.cli.options import START_SETTINGS, Given, Subcommands, prints, takes_settings
from reconciler_engine.cli.output import Output, print_columns, say
from reconciler_engine.config.definitions import SETTINGS
from reconciler_engine.errors import ConfigError
from reconciler_engine.observe.words import counted

if TYPE_CHECKING:
    from reconciler_engine.config import ReconciliationConfig
    from reconciler_engine.store.rights import Role


@click.group(cls=Subcommands)
def config() -> None:
    """Show the settings, check a settings file, or begin one.

    \b
    Examples:
      reconciler-engine config init reconciler.toml
      reconciler-engine config check reconciler.toml
      reconciler-engine config show --config reconciler.toml
    """


@config.command("show")
@prints
@takes_settings(*START_SETTINGS)
def show(*, output: Output, given: Given) -> None:
    """Show every setting's effective value and its source; secrets are masked.

    \b
    Examples:
      reconciler-engine config show
      reconciler-engine config show --config reconciler.toml --workers 4 --json
    """
    from reconciler_engine.cli.api_key import NAME_VARIABLE, load_signed
    from reconciler_engine.cli.setting_sources import gather

    settings, credentials = load_signed(*given)
    origins = gather(*given, os.environ, []).origins
    values = effective_values(settings, signed=credentials is not None)
    origin_of = {name: origins.get(name, "default") for name in values}
    key = None if credentials is None else f"...{credentials.name[-4:]}, {credentials.algorithm}"
    key_origin = "-" if key is None else origins.get("key_file", NAME_VARIABLE)
    if output.as_json:
        told = {name: {"value": value, "origin": origin_of[name]} for name, value in values.items()}
        output.print_json({"settings": told, "credentials": {"key": key, "origin": key_origin}})
        return
    rows = [(name, _in_words(name, value), origin_of[name]) for name, value in values.items()]
    print_columns(
        ("setting", "value", "from"), [*rows, ("credentials", key or "none, requests are unsigned", key_origin)]
    )


def effective_values(config: ReconciliationConfig, *, signed: bool) -> dict[str, Any]:
    """Return every setting for JSON, with derived defaults computed and secrets masked."""
    from reconciler_engine.cli.setting_sources import default_data_dir

    values = config.model_dump(mode="json")
    values["data_dir"] = str(config.data_dir or default_data_dir(simulated=False))
    values["hourly_limit"] = config.budget(signed=signed).hourly or 0
    if config.redis_url is not None:
        values["redis_url"] = masked(config.redis_url)
    if config.route.proxy is not None:
        values["proxy"] = str(config.route.proxy)
    # These two addresses are shown without their password; a webhook's URL may be secret as a whole.
    shown = {"redis_url", "proxy"}
    secret = [name for name, one in SETTINGS.items() if one.hidden and name not in shown and values[name] is not None]
    return {**values, **dict.fromkeys(secret, "***")}


def masked(redis_url: str) -> str:
    """Return the address of a Redis, with `***` in place of user and password."""
    from reconciler_engine.store.client.cluster_address import parse_address

    address = parse_address(redis_url)
    scheme, _, rest = str(address).partition("://")
    return f"{scheme}://***@{rest}" if address.password is not None else f"{scheme}://{rest}"


def _in_words(name: str, value: Any) -> str:
    if value is None:
        return SETTINGS[name].unset or "-"
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(value) or "-" if isinstance(value, list) else str(value)


@config.command("check")
@click.argument("file", metavar="FILE", help="Settings file (TOML).")
@prints
def check(*, file: str, output: Output) -> None:
    """Check a settings file and its key file, without flags and environment.

    \b
    Examples:
      reconciler-engine config check reconciler.toml

    Names every fault; exit code 78 if there is one.
    """
    from reconciler_engine.cli.api_key import load_signed
    from reconciler_engine.cli.setting_sources import gather, open_to_others

    faults: tuple[str, ...] = ()
    values = gather({}, file, {}, []).values
    try:
        load_signed({}, file, needs_symbols="symbols" in values, environment={})
    except ConfigError as error:
        faults = error.faults
    if opened := open_to_others(file):
        faults = (*faults, opened)
    if output.as_json:
        output.print_json({"file": file, "ok": not faults, "faults": faults})
    elif not faults:
        say(f"{file}: in order, {counted(len(values), 'setting')}")
    if faults:
        leave(CONFIG, "" if output.as_json else "\n".join(faults))


@config.command("acl")
@click.argument("role", type=click.Choice(["engine", "reader", "gate", "bot"]), help="Role of the Redis user.")
@takes_settings("layout", "user_id", "exchange_id")
def acl(*, role: Role, given: Given) -> None:
    """Print the ACL command for a Redis user with only the rights of an engine, a reader, the ready gate or a bot.

    \b
    Examples:
      reconciler-engine config acl engine
      reconciler-engine config acl gate --layout exchange --exchange-id 2

    A reader runs `status`, `coverage`, `ready`, `evidence` and `journal`; a bot asks the gate and takes permits.
    Replace PASSWORD by a password.
    """
    from reconciler_engine.cli.setting_sources import load_config
    from reconciler_engine.store.rights import acl_rules
    from reconciler_engine.store.scope import Layout

    settings = load_config(*given, windows=())
    rules = acl_rules(role, Layout(settings.layout), settings.user_id, settings.exchange_id)
    print("ACL SETUSER", f"reconciler-{role}", "on", ">PASSWORD", *rules)


@config.command("init")
@click.argument(
    "file",
    required=False,
    type=click.Path(path_type=Path),
    metavar="[FILE]",
    help="File to write; standard output if left out.",
)
def init(*, file: Path | None) -> None:
    """Write a settings file that explains every setting; a file that exists is not overwritten.

    \b
    Examples:
      reconciler-engine config init reconciler.toml
      reconciler-engine config init | less
    """
    if file is None:
        print(template(), end="")
        return
    # Only its owner may read it, because a password may be added to it.
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        leave(FAILURE, f"{file} exists and is not overwritten; name another file")
    except OSError as error:
        needed = f"{file.parent} must be a folder in which this user may write"
        leave(FAILURE, f"{file} cannot be written ({error.strerror}); {needed}")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(template())
    except OSError:
        # Half a file, left by a full disk, would make the next try fail.
        file.unlink(missing_ok=True)
        raise
    say(f"wrote {file}; next: reconciler-engine config check {file}")


_HEAD = """\
# Settings of reconciler-engine. Flags and RECONCILER_<NAME> override this file; lines that begin with # are not set.
# reconciler-engine config check FILE names every fault, reconciler-engine doctor --config FILE looks further.
"""
_SET = {"symbols": ["BTC-USD", "ETH-USD"]}
_WIDTH = 110


def template() -> str:
    """Return the text of a settings file that explains every setting; all but the symbols are commented out."""
    blocks = [_HEAD]
    for name, setting in SETTINGS.items():
        comment = "\n".join(
            textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)
            for text in (setting.explanation, f"Allowed: {setting.allowed}.")
        )
        shown = setting.example if setting.default is None else setting.default
        line = f"{name} = {json.dumps(_SET[name])}" if name in _SET else f"#{name} = {json.dumps(shown)}"
        blocks.append(f"{comment}\n{line}\n")
    return "\n".join(blocks)
