"""Constants of proof: how many answers must agree, how far apart, and when a slot is asked for again. Pure."""

from __future__ import annotations

from reconciler_engine.planning.ledger import SIGHTINGS_LIMIT, Finding

RIPE_MS = 600_000
"""A single answer may prove a slot empty from ten minutes after its close."""

APART_MS = 240_000
"""Two answers at least four minutes apart prove more together than each alone."""

THIRD_AFTER_MS = 3_600_000
"""If references are hopeless, a third answer can prove a slot empty an hour after the first."""

LEAST_WITNESSES = 30
"""Fewest independent witnesses with which a single answer is a proof."""

TRUSTED_WITNESSES = 5
"""An answer with all of at least five witnesses shows that the exchange has stopped withholding candles."""

RECHECK_MS = (3_600_000, 21_600_000)
"""A proof is rechecked one hour and six hours after it was made."""

DAILY_MS = 86_400_000
"""A slot that cannot be settled is asked for once a day, after the rechecks."""

QUIET_AFTER_MS = 6_600_000
"""A sudden silence may be an outage of the exchange. It proves nothing about slots that closed less than 110 minutes
ago: most outages are shorter."""

PACE_SLOTS = 60
"""Slots before a silence from which the product's trading pace is computed."""

LEAST_PACE_SLOTS = 20
"""Fewest slots from which the pace is computed."""

IMPROBABLE = 0.05
"""A silence is sudden if its probability, by the product's pace, is below this."""

LATE_REACH_MS = 7_200_000
"""A late candle voids proofs of empty slots within two hours of it, if they were made without a reference."""


def seen_again(finding: Finding, at: int) -> Finding:
    """Return a finding after another answer agreed with it; `at` is the instant of its request (ms UTC)."""
    sightings = min(finding.sightings + 1, SIGHTINGS_LIMIT)
    return finding._replace(last=max(finding.last, at), sightings=sightings)


def resting_until(first: int, at: int) -> int:
    """Return when to ask again (ms UTC) for an unsettled slot: 1 h and 6 h after `first`, then a day after `at`."""
    return next((first + wait for wait in RECHECK_MS if at < first + wait), at + DAILY_MS)
