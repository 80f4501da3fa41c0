"""Base of things kept in Redis for one scope, and the reading of their records."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

_T = TypeVar("_T", bound=BaseModel)


class Scoped:
    """Something of one scope in Redis. The client is the caller's to close."""

    _name: ClassVar[str]
    """Name of the key of its own, where it has one."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope

    @property
    def _key(self) -> str:
        return self._scope.key(self._name)


def read_record(kind: type[_T], body: object, most_bytes: int = 1_000_000) -> _T | None:
    """Return a record out of Redis; None where there is none, or one that cannot be understood."""
    try:
        return kind.model_validate_json(body) if isinstance(body, bytes) and len(body) <= most_bytes else None
    except ValidationError:
        return None
