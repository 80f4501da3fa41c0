"""Every error a user of reconciler_engine can meet, sorted by who must act."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import ClassVar


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Return the errors in a group and in the groups within it; a single error is returned itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


class ReconcilerError(Exception):
    """Root of the engine's own errors.

    `retryable` says whether the same call can succeed later without anybody's help.
    """

    retryable: ClassVar[bool] = False


class ConfigError(ReconcilerError):
    """The operator must change a setting. Holds every fault found, one line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class CandleFileError(ReconcilerError):
    """The operator must change a candle file, or ask to skip its bad rows. Nothing of the file was used.

    `faults` holds one line each, in file order, at most 1,000 of them; `total` is how many there are; `told` tells them
    shortly, the first three of each kind.
    """

    def __init__(
        self, path: str, faults: Sequence[str], total: int | None = None, told: Sequence[str] | None = None
    ) -> None:
        self.path = path
        self.told = "\n".join(f"{path}: {line}" for line in (faults if told is None else told))
        self.faults = tuple(faults)
        self.total = len(self.faults) if total is None else total
        more = self.total - len(self.faults)
        lines = [f"{path}: {fault}" for fault in self.faults]
        super().__init__("\n".join([*lines, f"{path}: and {more:,} more"] if more else lines))


class SourceError(ReconcilerError):
    """The exchange did not give an answer that can be used; nothing is proved about any slot."""


class RateLimited(SourceError):
    """The exchange refused for rate (429, or 403 `Too many errors`).

    `retry_after_ms` is the wait that the exchange asked for, bounded, or None without one.
    """

    retryable = True

    def __init__(self, status: int, retry_after_ms: int | None = None, *, blocked: bool = False) -> None:
        self.status = status
        self.retry_after_ms = retry_after_ms
        self.blocked = blocked
        asked = "" if retry_after_ms is None else f"; asked to wait {retry_after_ms} ms"
        super().__init__(f"exchange refused for rate: HTTP {status}{asked}")


class SourceUnavailable(SourceError):
    """No answer came, or one that says the server is in trouble (5xx, a CDN page, a broken connection).

    `retry_after_ms` is the wait that the exchange asked for, bounded, or None; `status` is 0 where no
    answer came.
    """

    retryable = True

    def __init__(self, reason: str, retry_after_ms: int | None = None, *, status: int = 0) -> None:
        self.retry_after_ms = retry_after_ms
        self.status = status
        super().__init__(f"exchange unavailable: {reason}")


class BadResponse(SourceError):
    """An answer came that is not of the documented form; none of it is used."""

    retryable = True

    def __init__(self, reason: str) -> None:
        super().__init__(f"exchange answer refused: {reason}")


class RequestRefused(SourceError):
    """The exchange understood the request and will not serve it (400, 404): asking again cannot help."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"exchange refused the request: HTTP {status} {reason}")


class NotAuthorized(SourceError):
    """The exchange does not accept the credentials (401, 403); `signed` where there were any."""

    def __init__(self, status: int, reason: str, *, signed: bool = False) -> None:
        self.status = status
        self.signed = signed
        super().__init__(f"exchange refused the credentials: HTTP {status} {reason}")


class PermitRefused(ReconcilerError):
    """The request budget has no slot within the time the caller would wait; the next one is `wait_ms` away."""

    retryable = True

    def __init__(self, wait_ms: int) -> None:
        self.wait_ms = wait_ms
        super().__init__(f"request budget: the next permit is {wait_ms} ms away, longer than the wait allowed")


class TokenRefused(SourceError):
    """The exchange did not accept one token, as it now and then does with good ones; a fresh one may pass."""

    retryable = True
    status = 401

    def __init__(self) -> None:
        super().__init__("exchange refused a token: HTTP 401; a fresh one may pass")


class IdentityStopped(NotAuthorized):
    """The exchange refused an API key several times in a row: no process asks with it for `left_ms`.

    It is asked with again once the key changes, at the next start, and after that time.
    """

    def __init__(self, status: int, left_ms: int) -> None:
        self.left_ms = left_ms
        super().__init__(
            status,
            "several times in a row, so nothing is asked with this key for "
            f"{ceil(left_ms / 60_000)} min or until a start; usual causes: this machine's clock is off; the key name "
            "is not the full text of the key file; the key was deleted, lacks the view permission, or is limited to "
            "other addresses; it is a legacy key",
            signed=True,
        )


class StoreError(ReconcilerError):
    """Redis did not carry out a command.

    `code` is the first word of the server's own answer (`WRONGTYPE`, `NOGROUP`, ...); empty where no answer came.
    """

    def __init__(self, reason: str, *, code: str = "") -> None:
        self.code = code
        super().__init__(reason)


class StoreUnavailable(StoreError):
    """Redis cannot be reached, did not answer in time, or says it cannot serve just now.

    Whether a write took effect is unknown, unless there is a `code`: a server that answered (`LOADING`, `BUSY`,
    `READONLY`, ...) did nothing.
    """

    retryable = True


class NodeUnavailable(StoreUnavailable):
    """A node of a cluster does not serve: its keys alone are out of reach, perhaps for a moment only."""


class NodeAway(NodeUnavailable):
    """A node of a cluster has been away for longer than a failover takes."""


class StoreDenied(StoreError):
    """Redis does not accept the credentials, or their permissions do not allow the command; nothing was done."""


class StoreRefused(StoreError):
    """Redis answered a command with an error and did nothing; `code` says why (`NOSCRIPT`, `WRONGTYPE`, ...)."""


class StoreFull(StoreRefused):
    """Redis takes no writes at present, to any key: its memory is full, or it cannot write to its disk."""


def own_fault(error: StoreError, *, waits: bool = True) -> StoreError:
    """Return an error that concerns one series, or the series of one node; raise one that all series would meet.

    A node that may be back in a moment is waited for where the caller `waits`: its error is raised, too.

    Raises:
        StoreUnavailable: Redis is away.
        StoreDenied: Redis lets its user do less than before.
    """
    if isinstance(error, NodeAway if waits else NodeUnavailable):
        return error
    if isinstance(error, StoreUnavailable | StoreDenied):
        raise error
    return error


class RunClosed(StoreError):
    """A run's record is gone: Redis was emptied, or the run ended elsewhere. The next tick derives the work anew."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the record of run {run_id} is gone")


class LeaseLost(StoreError):
    """Another engine directs the job now: this one's write was refused, and the other one does the work."""

    def __init__(self, job: str) -> None:
        super().__init__(f"another engine has taken over job {job}")


class OtherProtocol(ReconcilerError):
    """An engine whose protocol is another one works on the same candles; this one can begin once that one has ended."""

    retryable = True

    def __init__(self, other: str, theirs: int, ours: int) -> None:
        super().__init__(
            f"another engine works on these candles under protocol {theirs or 'of before'}, and this one has {ours}: "
            f"{other}; stop it first, or start this one again once it has ended"
        )


class WorkerError(ReconcilerError):
    """A process of an engine failed."""


class RoleFailed(WorkerError):
    """A role of an engine was given up.

    `role` is the name of its last child, `status` its exit code (78: its configuration cannot work).
    """

    def __init__(self, name: str, reason: str, status: int) -> None:
        self.role = name
        self.status = status
        super().__init__(f"{name} given up: {reason}")


class DataDirectoryBusy(ReconcilerError):
    """Another process holds the data directory.

    `orphan_of` is the process id of a supervisor that was killed, if it is that one's server, which ends by itself.
    """

    def __init__(self, path: str, holder: str, *, orphan_of: int | None = None) -> None:
        self.path = path
        self.holder = holder
        self.orphan_of = orphan_of
        super().__init__(f"data directory {path} is in use by {holder}; stop it or set another data_dir")
