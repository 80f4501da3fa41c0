"""`simulate`: a Coinbase look-alike on loopback."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler_engine.cli.arguments import parse_instant
from reconciler_engine.cli.options import decimal, prints, whole_between
from reconciler_engine.cli.output import Output
from reconciler_engine.errors import ConfigError

if TYPE_CHECKING:
    from reconciler_engine.simulator.simulation import SimulatorSettings

_PATH = click.Path(path_type=Path)


@click.command()
@click.option(
    "--port", metavar="N", type=whole_between(0, 65_535), default=0, help="Port on 127.0.0.1, 0 for a free one."
)
@click.option(
    "--seed", metavar="N", type=whole_between(-(10**18), 10**18), default=1, help="Seed of the invented prices."
)
@click.option(
    "--replay", metavar="DIR", type=_PATH, help="Serve the candle files of this folder instead of invented prices."
)
@click.option("--log", metavar="FILE", type=_PATH, help="Append a JSON line for each request.")
@click.option("--start", metavar="TIME", help="First time that the simulator's clock shows (ISO 8601).")
@click.option("--clock-rate", "rate", metavar="X", type=decimal, help="Speed of the simulator's clock; 0 stops it.")
@click.option(
    "--public-rate",
    metavar="N",
    type=decimal,
    default=10.0,
    help="Requests per second allowed for each address before the answer is 429.",
)
@click.option("--faults", metavar="FILE", type=_PATH, help="Apply the fault rules in this file (TOML or JSON).")
@click.option(
    "--key-file",
    "key_files",
    metavar="FILE",
    type=_PATH,
    multiple=True,
    help="Accept private requests that this API key signed.",
)
@prints
def simulate(*, start: str | None, public_rate: float, output: Output, **settings: Any) -> None:
    """Serve a look-alike of Coinbase for trials and tests.

    \b
    Examples:
      reconciler-engine simulate --port 8099
      reconciler-engine simulate --replay ./candles --log requests.jsonl
      reconciler-engine simulate --faults faults.toml

    A faults file is a list of rules such as `[[fault]]`, `mode = "throttle"`, `product = "BTC-*"`, `every = 10`. The
    file is read again when it changes. Mode `data` withholds candles (`data = "empty"`, `"late"` with `seconds`,
    `"thinned"` with `nth`); mode `shape` spoils single rows (`shape = "zero_price"`, with `rows` or `nth`).

    Prints `listening on http://127.0.0.1:PORT`. The endpoints for candles, products and time are served. All answers
    are invented, or replayed from files.
    """
    import trio

    from reconciler_engine.simulator.rules.exchange import ExchangeRules
    from reconciler_engine.simulator.simulation import SimulatorSettings

    faults: list[str] = []
    instant = None if start is None else parse_instant("--start", start, faults)
    if faults:
        raise ConfigError(faults)
    try:
        rules = ExchangeRules(public_rate=public_rate)
        asked = SimulatorSettings(start=instant, rules=rules, **settings)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    trio.run(_serve, asked, output)


async def _serve(settings: SimulatorSettings, output: Output) -> None:
    """Run a simulator until SIGTERM or SIGINT."""
    import trio

    from reconciler_engine.errors import CandleFileError
    from reconciler_engine.simulator import simulation
    from reconciler_engine.supervisor.child_list import ChildList
    from reconciler_engine.supervisor.signals import hear_orders

    def announce(line: str) -> None:
        if output.as_json:
            output.print_json({"listening": line.removeprefix("listening on ")})
        else:
            print(line, flush=True)

    async def run() -> None:
        try:
            await simulation.simulate(settings, announce)
        except CandleFileError as error:
            # A fault of the replayed files is a fault of the option that names them.
            raise ConfigError(error.told.splitlines()) from error

    children = ChildList(os.getpid())
    async with hear_orders(children, may_reload=False) as orders, trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await orders.stop.wait()
        nursery.cancel_scope.cancel()
