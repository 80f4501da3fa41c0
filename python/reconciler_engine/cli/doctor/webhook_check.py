"""The check of the webhook: whether it takes a test alert."""

from __future__ import annotations

import time

from reconciler_engine.cli.doctor.check import Check
from reconciler_engine.config import ReconciliationConfig
from reconciler_engine.observe.alerts import Alert
from reconciler_engine.webhook.sender import Post, Target, send

_NAME = "webhook"


async def check_webhook(config: ReconciliationConfig, *, sends: bool) -> Check:
    """Return the check; something is sent only where that is asked for, once."""
    if config.webhook_url is None:
        hint = "set webhook_url in the environment or the settings file" if sends else ""
        return Check(_NAME, "fail" if sends else "skipped", "webhook_url is not set", hint)
    if not sends:
        return Check(_NAME, "skipped", "set; --send-test-alert tries it")
    told = {"alert": Alert.TEST.value, "phase": "begin", "at": time.time_ns() // 1_000_000, "count": 0, "subjects": []}
    answer = await send(Target(config.webhook_url, config.webhook_secret), Post.of(told))
    if answer.taken:
        signed = "signed" if config.webhook_secret is not None else "unsigned: webhook_secret is not set"
        return Check(_NAME, "ok", f"took the test alert ({answer.detail}), {signed}")
    return Check(_NAME, "fail", f"did not take the test alert: {answer.detail}", "check webhook_url and its receiver")
