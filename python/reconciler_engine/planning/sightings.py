"""How many answers must agree about a slot, how far apart, and when to ask again. Pure."""

from __future__ import annotations

from reconciler_engine.planning.ledger import SIGHTINGS_LIMIT, Finding

RIPE_MS = 600_000
"""One answer may prove a slot empty from ten minutes after its close."""

APART_MS = 240_000
"""Two answers that lie four minutes apart prove together more than each alone."""

THIRD_AFTER_MS = 3_600_000
"""Where no reference can be had, a third answer proves an hour after the first."""

LEAST_WITNESSES = 30
"""An answer with fewer independent witnesses is not trusted by itself."""

TRUSTED_WITNESSES = 5
"""An answer with so many witnesses that lacks none of them shows that the exchange withholds no longer."""

RECHECK_MS = (3_600_000, 21_600_000)
"""A proof is looked at again after one hour and after six."""

DAILY_MS = 86_400_000
"""A slot that cannot be settled is asked for once a day, after the rechecks."""

QUIET_AFTER_MS = 6_600_000
"""A silence that is improbable for a product proves nothing about slots that closed less than 110 minutes ago: most
outages are shorter."""

PACE_SLOTS = 60
"""Slots before a silence that show how often the product trades."""

LEAST_PACE_SLOTS = 20
"""Fewer slots show nothing of a product's pace."""

IMPROBABLE = 0.05
"""A silence whose chance is below this, by the product's pace, is sudden."""

LATE_REACH_MS = 7_200_000
"""A late candle makes empties within two hours of it missing again, if they were proved without a reference."""


def seen_again(finding: Finding, at: int) -> Finding:
    """Return a finding after one more answer that agrees with it, asked for at `at` (ms UTC)."""
    sightings = min(finding.sightings + 1, SIGHTINGS_LIMIT)
    return finding._replace(last=max(finding.last, at), sightings=sightings)


def resting_until(first: int, at: int) -> int:
    """Return when to ask again for a slot that cannot be settled: 1 h and 6 h after `first`, then daily (ms UTC)."""
    return next((first + wait for wait in RECHECK_MS if at < first + wait), at + DAILY_MS)
