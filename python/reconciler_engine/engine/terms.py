"""Terms: the key, rate and address of requests, which a task does not carry. All workers of a scope must share them."""

from __future__ import annotations

from collections.abc import Mapping

from reconciler_engine.engine.parts import Parts
from reconciler_engine.engine.tasks.consumer_name import is_gone
from reconciler_engine.errors import ConfigError
from reconciler_engine.store.protocol import terms_at_work
from reconciler_engine.store.status_board import StatusBoard

_BUDGET = ("base_url", "key_file", "egress")
"""Settings that decide which budget requests share."""
_RATES = ("batch_size", "batch_delay_ms", "hourly_limit")


def terms_of(parts: Parts) -> dict[str, str]:
    """Return the terms of this process' requests, by setting; a key is given by its name only."""
    config, identity, budget = parts.config, parts.identity, parts.bucket.budget
    return {
        "base_url": config.base_url,
        "key_file": "" if identity is None else identity.name,
        "egress": "" if identity is not None or config.egress is None else config.egress,
        "batch_size": str(budget.burst),
        "batch_delay_ms": str(budget.period_ms),
        "hourly_limit": str(budget.hourly or 0),
    }


async def check_terms(parts: Parts) -> None:
    """Check that all processes at work on the scope have the terms of this one, since they share its tasks.

    Raises:
        ConfigError: An engine or another command has other terms. The error names every difference.
        StoreError: Redis did not answer.
    """
    mine = terms_of(parts)
    for status in await StatusBoard(parts.client).read(parts.scope):
        if faults := _differences(mine, status.terms, "engine", status.node):
            raise ConfigError(faults)
    for name, theirs in (await terms_at_work(parts.client, parts.scope)).items():
        # A killed process stays in the list for some seconds.
        is_other = name != parts.queue.consumer and not is_gone(name)
        if is_other and (faults := _differences(mine, theirs, "command", name)):
            raise ConfigError(faults)


async def find_other_rates(parts: Parts) -> list[str]:
    """Return, in words, each setting of rate in which another engine on the same budget differs from this one.

    The shared bucket grants each request at the rate of its sender, so the exchange sees the greatest of the rates.

    Raises:
        StoreError: Redis did not answer.
    """
    mine, own = terms_of(parts), parts.queue.consumer.rpartition(".")[0]
    others = [
        one
        for one in await StatusBoard(parts.client).read()
        if all(one.terms.get(name) == mine[name] for name in _BUDGET)
        and not (is_gone(one.node) or one.node.startswith(f"{own}."))
    ]
    return [
        f"{name} {_shown(name, mine[name])}: the engine {one.node} has {_shown(name, one.terms[name])}"
        for one in others
        for name in _RATES
        if name in one.terms and one.terms[name] != mine[name]
    ]


def _differences(mine: Mapping[str, str], theirs: Mapping[str, str], other: str, node: str) -> list[str]:
    host = node.partition(":")[0]
    return [
        f"{name} {_shown(name, value)}: the {other} at work on these candles ({host}) has "
        f"{_shown(name, theirs[name])}, and does part of this command's work; allowed: the same, or no {other} at work"
        for name, value in mine.items()
        if name in theirs and theirs[name] != value
    ]


def _shown(name: str, value: str) -> str:
    if name == "key_file":
        return f"key {value}" if value else "no key"
    return value or "none"
