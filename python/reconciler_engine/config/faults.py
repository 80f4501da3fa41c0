"""How a fault of the settings is told, and what of it never is."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from reconciler_engine.config.definitions import SETTINGS

SECRET_FIELDS = frozenset(name for name, setting in SETTINGS.items() if setting.hidden)
"""Fields whose values never appear in a message; a Redis URL may hold a password."""

_SHOWN_LIMIT = 120


def field_faults(
    model: type[BaseModel], error: ValidationError, settings: Mapping[str, Any], origins: Mapping[str, str]
) -> dict[str, str]:
    """Return one line for each faulty field of a model: field, value, origin and what is allowed.

    What is allowed is the field's description. Pydantic's own texts are not used, since they echo what was given.
    """
    faults: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        field = str(detail["loc"][0])
        origin = origin_of(field, origins)
        if detail["type"] == "extra_forbidden":
            near = difflib.get_close_matches(field, model.model_fields, n=1)
            hint = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(model.model_fields)}"
            faults[field] = f"{field}{origin}: unknown setting; {hint}"
            continue
        secret = _may_hold_secret(field, settings.get(field))
        value = "<hidden>" if secret else _shown(settings.get(field))
        reason = detail.get("ctx", {}).get("error")
        why = f" ({reason})" if isinstance(reason, ValueError) and not secret else ""
        faults[field] = f"{field} {value}{origin}: allowed: {model.model_fields[field].description}{why}"
    return faults


def _may_hold_secret(field: str, value: object) -> bool:
    """Whether a value stays out of messages: a URL with a user, a password or a query is one, wherever it stands."""
    return field in SECRET_FIELDS or (field == "base_url" and any(sign in str(value) for sign in "@?#"))


def origin_of(field: str, origins: Mapping[str, str]) -> str:
    """Return the words for where a value came from; none where that is not known."""
    return f" (from {origins[field]})" if field in origins else ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_LIMIT else f"{text[:_SHOWN_LIMIT]}... ({len(text)} characters)"
