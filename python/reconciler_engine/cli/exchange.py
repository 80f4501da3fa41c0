"""The work of `simulate`: settings in, a simulator until a signal comes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import trio

from reconciler_engine.cli.one_pass import parse_instant
from reconciler_engine.errors import ConfigError
from reconciler_engine.simulator.rules.exchange import ExchangeRules
from reconciler_engine.simulator.simulation import SimulatorSettings
from reconciler_engine.simulator.simulation import simulate as run_simulator
from reconciler_engine.supervisor.child_list import ChildList
from reconciler_engine.supervisor.signals import hear_orders


def serve(
    port: int,
    seed: int,
    replay: Path | None,
    log: Path | None,
    start: str | None,
    rate: float | None,
    public_rate: float,
    fault_file: Path | None,
    key_files: Sequence[Path],
    *,
    as_json: bool,
) -> None:
    """Run a simulator until SIGTERM or SIGINT.

    Raises:
        ConfigError: A setting is out of order, or the port or a file cannot be opened.
        CandleFileError: A file to replay is unusable.
    """
    faults: list[str] = []
    instant = None if start is None else parse_instant("--start", start, faults)
    if faults:
        raise ConfigError(faults)
    try:
        rules = ExchangeRules(public_rate=public_rate)
        settings = SimulatorSettings(
            port,
            seed,
            replay=replay,
            log=log,
            start=instant,
            rate=rate,
            rules=rules,
            faults=fault_file,
            key_files=tuple(key_files),
        )
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    trio.run(_serve, settings, as_json)


async def _serve(settings: SimulatorSettings, as_json: bool) -> None:
    def announce(line: str) -> None:
        print(json.dumps({"listening": line.removeprefix("listening on ")}) if as_json else line, flush=True)

    children = ChildList(os.getpid())
    async with hear_orders(children, may_reload=False) as orders, trio.open_nursery() as nursery:
        nursery.start_soon(run_simulator, settings, announce)
        await orders.stop.wait()
        nursery.cancel_scope.cancel()
