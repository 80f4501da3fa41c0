"""`simulate`: a Coinbase look-alike on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler_engine.cli.exits import reported_errors
from reconciler_engine.cli.numbers import decimal, whole_between
from reconciler_engine.cli.options import Json


def simulate(
    *,
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", parser=whole_between(0, 65_535), help="Port on 127.0.0.1, 0 for a free one."
        ),
    ] = 0,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", parser=whole_between(-(10**18), 10**18), help="Seed of the invented prices."
        ),
    ] = 1,
    replay: Annotated[
        Path | None, typer.Option("--replay", metavar="DIR", help="Serve the candle files there as the truth.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", metavar="FILE", help="Append a JSON line for each request.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--start", metavar="TIME", help="What its clock shows at first (ISO 8601).")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--clock-rate", metavar="X", parser=decimal, help="How fast its clock runs; 0 stands still."),
    ] = None,
    public_rate: Annotated[
        float,
        typer.Option(
            "--public-rate", metavar="N", parser=decimal, help="Requests per second and address before it says 429."
        ),
    ] = 10.0,
    faults: Annotated[
        Path | None, typer.Option("--faults", metavar="FILE", help="Play the fault rules there (TOML or JSON).")
    ] = None,
    key_file: Annotated[
        list[Path] | None, typer.Option("--key-file", metavar="FILE", help="Let this API key sign private requests.")
    ] = None,
    json: Json = False,
) -> None:
    """Serve Coinbase's candle, product and time endpoints on loopback: a stand-in for trials and tests.

    \b
    Examples:
      reconciler-engine simulate --port 8099
      reconciler-engine simulate --replay ./candles --log requests.jsonl
      reconciler-engine simulate --faults faults.toml

    A faults file is a list of rules such as `[[fault]]`, `mode = "throttle"`, `product = "BTC-*"`, `every = 10`; it is
    read again when it changes.

    Prints `listening on http://127.0.0.1:PORT`. All it says is invented, or replayed from files.
    """
    from reconciler_engine.cli.exchange import serve

    with reported_errors():
        serve(port, seed, replay, log, start, rate, public_rate, faults, key_file or [], as_json=json)
