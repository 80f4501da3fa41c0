"""Every error that reconciler_engine raises to its users, grouped by who must act."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil
from typing import ClassVar


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the single errors in an exception group and its nested groups, or the error itself if it is not a group."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from leaves(inner)
    else:
        yield error


class ReconcilerError(Exception):
    """Base class of the engine's own errors.

    `retryable` says whether the same call may succeed later although nobody changes anything.
    """

    retryable: ClassVar[bool] = False


class ConfigError(ReconcilerError):
    """The operator must change a setting. `faults` holds every fault found, one line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class CandleFileError(ReconcilerError):
    """The operator must change a candle file, or choose to skip its bad rows. No row of the file was used.

    Attributes:
        path: Path of the file.
        faults: The first 1,000 faults in file order, one line each.
        total: Number of all faults.
        told: Summary for the user: the first three faults of each kind.
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
    """The exchange did not give a usable answer, so nothing is proved about any slot."""


class RateLimited(SourceError):
    """The exchange limited the rate of requests (429, or 403 `Too many errors`).

    `retry_after_ms` is the wait that the exchange asked for (bounded), or None.
    """

    retryable = True

    def __init__(self, status: int, retry_after_ms: int | None = None, *, blocked: bool = False) -> None:
        self.status = status
        self.retry_after_ms = retry_after_ms
        self.blocked = blocked
        asked = "" if retry_after_ms is None else f"; asked to wait {retry_after_ms} ms"
        super().__init__(f"exchange limited the rate of requests: HTTP {status}{asked}")


class SourceUnavailable(SourceError):
    """No answer came, the connection broke, or the server reported trouble (5xx or a CDN's error page).

    `retry_after_ms` is the wait that the exchange asked for (bounded), or None. `status` is the HTTP status, or 0 if no
    answer came.
    """

    retryable = True

    def __init__(self, reason: str, retry_after_ms: int | None = None, *, status: int = 0) -> None:
        self.retry_after_ms = retry_after_ms
        self.status = status
        super().__init__(f"exchange unavailable: {reason}")


class BadResponse(SourceError):
    """An answer came that does not have the documented form; it is ignored as a whole."""

    retryable = True

    def __init__(self, reason: str) -> None:
        super().__init__(f"exchange answer refused: {reason}")


class RequestRefused(SourceError):
    """The exchange understood the request but refused it (400, 404): a retry cannot help."""

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        super().__init__(f"exchange refused the request: HTTP {status} {reason}")


class NotAuthorized(SourceError):
    """The exchange did not accept the credentials (401, 403). `signed` says whether the request had any."""

    def __init__(self, status: int, reason: str, *, signed: bool = False) -> None:
        self.status = status
        self.signed = signed
        super().__init__(f"exchange refused the credentials: HTTP {status} {reason}")


class PermitRefused(ReconcilerError):
    """The request budget has no permit within the caller's longest wait; the next one is `wait_ms` away."""

    retryable = True

    def __init__(self, wait_ms: int) -> None:
        self.wait_ms = wait_ms
        super().__init__(f"request budget: the next permit is {wait_ms} ms away, longer than the wait allowed")


class TokenRefused(SourceError):
    """The exchange refused one token. It sometimes refuses valid tokens, so a fresh one may be accepted."""

    retryable = True
    status = 401

    def __init__(self) -> None:
        super().__init__("exchange refused a token: HTTP 401; a fresh one may be accepted")


class IdentityStopped(NotAuthorized):
    """The exchange refused an API key several times in a row, so no process sends requests with it for `left_ms`.

    Requests resume after that time, and earlier if the key is changed or an engine is started.
    """

    def __init__(self, status: int, left_ms: int) -> None:
        self.left_ms = left_ms
        super().__init__(
            status,
            "several times in a row, so no request is sent with this key for "
            f"{ceil(left_ms / 60_000)} min, or until an engine is started; usual causes: this machine's clock is off; "
            "the key name is not the full text of the key file; the key was deleted, lacks the view permission, or is "
            "limited to other addresses; it is a legacy key",
            signed=True,
        )


class StoreError(ReconcilerError):
    """Redis did not carry out a command.

    `code` is the first word of the server's error (`WRONGTYPE`, `NOGROUP`, ...), or empty if no answer came.
    """

    def __init__(self, reason: str, *, code: str = "") -> None:
        self.code = code
        super().__init__(reason)


class StoreUnavailable(StoreError):
    """Redis is unreachable, did not answer in time, or cannot serve at present.

    With a `code` (`LOADING`, `BUSY`, `READONLY`, ...) the server refused the command and did nothing. Without one, a
    write may or may not have taken effect.
    """

    retryable = True


class NodeUnavailable(StoreUnavailable):
    """A node of a cluster does not serve, perhaps only for a moment. Keys of other nodes are not affected."""


class NodeAway(NodeUnavailable):
    """A node of a cluster has not served for longer than a failover takes."""


class StoreDenied(StoreError):
    """Redis refused the credentials, or they do not permit the command. Redis did nothing."""


class StoreRefused(StoreError):
    """Redis answered a command with an error and did nothing. `code` says why (`NOSCRIPT`, `WRONGTYPE`, ...)."""


class StoreFull(StoreRefused):
    """Redis refuses all writes at present: its memory is full, or it cannot write to its disk."""


def own_fault(error: StoreError, *, waits: bool = True) -> StoreError:
    """Return an error that affects only one series or the series of one node; raise one that affects all series.

    If the caller `waits`, the error of a node that may soon be back is raised as well, so that the caller retries.

    Raises:
        StoreUnavailable: Redis is unreachable.
        StoreDenied: Redis refused the credentials, or they do not permit the command.
    """
    if isinstance(error, NodeAway if waits else NodeUnavailable):
        return error
    if isinstance(error, StoreUnavailable | StoreDenied):
        raise error
    return error


class RunClosed(StoreError):
    """The record of a run is gone: Redis was emptied, or another process ended it. The next run redoes the work."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"the record of run {run_id} is gone")


class LeaseLost(StoreError):
    """Another engine has taken over the job, so this engine's write was refused."""

    def __init__(self, job: str) -> None:
        super().__init__(f"another engine has taken over job {job}")


class OtherProtocol(ReconcilerError):
    """An engine with another protocol version uses the same candles. This engine can start once that one has ended."""

    retryable = True

    def __init__(self, other: str, theirs: int, ours: int) -> None:
        protocol = f"protocol {theirs}" if theirs else "an earlier protocol"
        super().__init__(
            f"another engine works on these candles under {protocol}, and this one has protocol {ours}: "
            f"{other}; stop it first, or start this one again once it has ended"
        )


class WorkerError(ReconcilerError):
    """A process of an engine failed."""


class RoleFailed(WorkerError):
    """The supervisor gave up a role of the engine.

    `role` is the name of the role's last child process, `status` its exit code (78: its configuration cannot work).
    """

    def __init__(self, name: str, reason: str, status: int) -> None:
        self.role = name
        self.status = status
        super().__init__(f"{name} given up: {reason}")


class DataDirectoryBusy(ReconcilerError):
    """Another process uses the data directory.

    `orphan_of` is set if that process is the server of a supervisor that was killed; it will end by itself. It is the
    process id of that supervisor.
    """

    def __init__(self, path: str, holder: str, *, orphan_of: int | None = None) -> None:
        self.path = path
        self.holder = holder
        self.orphan_of = orphan_of
        super().__init__(
            f"data directory {path} is in use by {holder}; if its candles are in another Redis, give the --config or "
            "--redis-url that it has; else stop it or set another data_dir"
        )
