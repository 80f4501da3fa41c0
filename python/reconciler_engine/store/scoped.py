"""Base class for records that Redis keeps for one scope, and the parser of such records."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from pydantic import BaseModel, ValidationError

from reconciler_engine.store.client.trio_redis import TrioRedis
from reconciler_engine.store.scope import Scope

_T = TypeVar("_T", bound=BaseModel)


class Scoped:
    """Data of one scope in Redis. The caller closes the client."""

    _name: ClassVar[str]
    """Name of the class's key in the scope; not set in a class without a key of its own."""

    def __init__(self, client: TrioRedis, scope: Scope) -> None:
        self._client = client
        self._scope = scope

    @property
    def _key(self) -> str:
        return self._scope.key(self._name)


def read_record(kind: type[_T], body: object, most_bytes: int = 1_000_000) -> _T | None:
    """Parse a record read from Redis; None if there is none, or if it is malformed or longer than `most_bytes`."""
    try:
        return kind.model_validate_json(body) if isinstance(body, bytes) and len(body) <= most_bytes else None
    except ValidationError:
        return None
