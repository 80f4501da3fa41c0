"""The work of `config init`: the settings file that a newcomer begins with."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

from reconciler_engine.cli.exits import FAILURE, leave
from reconciler_engine.cli.options import SETTINGS
from reconciler_engine.config import ReconciliationConfig

_HEAD = """\
# Settings of reconciler-engine. Flags and RECONCILER_<NAME> go before this file; what stands behind a # is unset.
# reconciler-engine config check FILE names every fault, reconciler-engine doctor --config FILE looks further.
"""

_SET = {"symbols": ["BTC-USD", "ETH-USD"]}
_EXAMPLES = {
    "redis_url": "redis://user:password@localhost:6379/0",
    "key_file": "cdp_api_key.json",
    "data_dir": "/var/lib/reconciler-engine",
    "hourly_limit": 10_000,
    "egress": "office",
    "listen": "127.0.0.1:9464",
    "listen_token": "a-long-random-text-of-your-own",
    "gap_scan_misfire_grace_ms": 300_000,
    "gap_scan_max_run_ms": 900_000,
    "full_reconcile_misfire_grace_ms": 3_600_000,
    "full_reconcile_max_run_ms": 10_800_000,
}
"""What an unset setting is shown with; all others are shown with their default."""

_WIDTH = 110


def template() -> str:
    """Return a settings file: symbols are set, every other setting is explained and stands behind a `#`."""
    blocks = [_HEAD]
    for name, field in ReconciliationConfig.model_fields.items():
        meaning = SETTINGS[name].help.partition(" [default: ")[0]
        comment = "\n".join(_comment(text) for text in (meaning, f"Allowed: {field.description}."))
        if name in _SET:
            line = f"{name} = {json.dumps(_SET[name])}"
        else:
            line = f"#{name} = {json.dumps(_EXAMPLES.get(name, field.default))}"
        blocks.append(f"{comment}\n{line}\n")
    return "\n".join(blocks)


def _comment(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def write_template(path: Path | None) -> None:
    """Write the template to a new file, readable by its owner alone since it may get a password; or print it."""
    if path is None:
        print(template(), end="")
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        leave(FAILURE, f"{path} exists and is not overwritten; name another file")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(template())
    except OSError:
        # A disk without room: half a file would be in the way of the next try.
        path.unlink(missing_ok=True)
        raise
    print(f"wrote {path}; next: reconciler-engine config check {path}")
