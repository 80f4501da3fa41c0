"""Messages about faults of settings. They never contain values that may be secret."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from reconciler_engine.config.definitions import FORMER_NAMES, SETTINGS

SECRET_FIELDS = frozenset(name for name, setting in SETTINGS.items() if setting.hidden)
"""Fields whose values never appear in a message; a Redis URL may hold a password."""

_SHOWN_LIMIT = 120
_UNKNOWN_TOLD = 10


def field_faults(
    model: type[BaseModel], error: ValidationError, settings: Mapping[str, Any], origins: Mapping[str, str]
) -> dict[str, str]:
    """Return a line for each faulty field of a model: field, value, origin and allowed values.

    The allowed values come from the field's description. Pydantic's own messages are not used: they contain the value.
    """
    faults: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        field = str(detail["loc"][0])
        origin = origin_of(field, origins)
        # The field is not hidden, but a URL with a user, a password or a query may contain a secret.
        signs = "@?#" if field == "base_url" else ""
        secret = field in SECRET_FIELDS or any(sign in str(settings.get(field)) for sign in signs)
        value = "<hidden>" if secret else _shown(settings.get(field))
        reason = detail.get("ctx", {}).get("error")
        why = f" ({reason})" if isinstance(reason, ValueError) and not secret else ""
        faults[field] = f"{field} {value}{origin}: allowed: {model.model_fields[field].description}{why}"
    return faults


def unknown_faults(model: type[BaseModel], settings: Collection[str], origins: Mapping[str, str]) -> dict[str, str]:
    """Return a line for each of the first ten unknown settings, and one with the number of further ones."""
    unknown = [field for field in settings if field not in model.model_fields]
    faults = {}
    for field in unknown[:_UNKNOWN_TOLD]:
        if field in FORMER_NAMES:
            now = FORMER_NAMES[field]
            faults[field] = f"{field}{origin_of(field, origins)}: old name of {now}, which is set, too; allowed: {now}"
            continue
        near = difflib.get_close_matches(field[:_SHOWN_LIMIT], model.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(model.model_fields)}"
        faults[field] = f"{field[:_SHOWN_LIMIT]}{origin_of(field, origins)}: unknown setting; {hint}"
    if len(unknown) > len(faults):
        last = unknown[-1]
        faults[last] = f"{len(unknown) - len(faults)} more unknown settings{origin_of(last, origins)}"
    return faults


def origin_of(field: str, origins: Mapping[str, str]) -> str:
    """Return text about where a value came from; empty if unknown."""
    return f" (from {origins[field]})" if field in origins else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}... ({len(text)} characters)"
