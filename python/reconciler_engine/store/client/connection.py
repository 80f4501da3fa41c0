"""One connection to a server: sends packed commands and reads their replies."""

from __future__ import annotations

import math
import re
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

import hiredis
import trio

from reconciler_engine.errors import StoreError, StoreUnavailable
from reconciler_engine.steps import Command
from reconciler_engine.store.client.address import Address
from reconciler_engine.store.client.announced import AnnouncedLengths
from reconciler_engine.store.client.link import Link, open_link
from reconciler_engine.store.client.redis_py import reply_error

# Name of our connections in CLIENT LIST.
CLIENT_NAME: Final = "reconciler-engine"

# Most bytes of the replies to one exchange. The 2,000 members of a scan are 0.3 MB, an INFO is 10 kB.
MAX_REPLY_BYTES: Final = 256 * 1024 * 1024

# Most batches that may be unanswered: the server works on one while the replies to the one before are read.
_UNDER_WAY: Final = 2

_NOT_ENOUGH: Final = object()

# Times after which an exchange also asks for the server's role (s): after connecting, and after the last time. A
# primary behind a host name or a virtual address may be demoted and keep its connections open.
_FIRST_LOOK_S: Final = 1.0
_LOOK_EVERY_S: Final = 3.0
_ROLE: Final = re.compile(rb"^role:(\w+)", re.MULTILINE)

# Errors of a link whose other end is gone, or that another task has closed.
_BROKEN: Final = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


@dataclass(frozen=True, slots=True)
class Silence:
    """Limit on the silence of a connection, after which a new connection is tried.

    A server carries out commands in the order of their arrival. Once it answers on a new connection, no reply is to be
    expected on the old one.

    Attributes:
        after_s: Time without a byte (s).
        answers_anew: Tells whether the server answers on a new connection or was replaced by another server.
    """

    after_s: float
    answers_anew: Callable[[], Awaitable[bool]]


class ReplyReader(Protocol):
    """Parses replies."""

    def feed(self, data: bytes | memoryview, /) -> int:
        """Parse bytes; return how many replies are complete so far. Raises: ValueError if they are not such replies."""


def pack(command: Command) -> bytes:
    """Encode a command; a name of two words (`SCRIPT LOAD`, as redis-py writes it) is sent as two arguments.

    Raises:
        TypeError: An argument is not str, int, float or bytes; the message names its index, not its value.
    """
    name = command[0]
    if isinstance(name, str) and " " in name:
        command = (*name.split(), *command[1:])
    try:
        # hiredis' stub asks for a tuple of one exact union type, but takes any mix of its types.
        packed: bytes = hiredis.pack_command(cast("Any", tuple(command)))
    except TypeError:
        for index, argument in enumerate(command):
            if isinstance(argument, bool) or not isinstance(argument, str | int | float | bytes):
                kind = type(argument).__name__
                raise TypeError(
                    f"argument {index} of {command[0]!r} is {kind}; allowed are str, int, float and bytes"
                ) from None
        raise
    return packed


_LOOK: Final = pack(("INFO", "replication"))


class Connection:
    """A connection to a server, used by one task at a time. Its owner closes it.

    After a failed or cancelled `exchange`, close the connection: its next bytes may belong to the old commands.
    """

    def __init__(self, link: Link, address: Address) -> None:
        self._link = link
        self._address = address
        self._reader = hiredis.Reader(protocolError=StoreError, replyError=reply_error, notEnoughData=_NOT_ENOUGH)
        self._lengths = AnnouncedLengths()
        self._look_at = trio.current_time() + _FIRST_LOOK_S
        self._role: bytes | None = None
        self.has_moved = False
        # `feed` copies its input, and takes any buffer although the stub does not say so.
        self._feed = cast("Callable[[bytes | memoryview], None]", self._reader.feed)

    def is_fresh(self) -> bool:
        """Whether the server has not closed the connection nor sent unread bytes; asked before a command is sent."""
        return not self._reader.has_data() and self._link.is_quiet()

    def close(self) -> None:
        """Close at once; do nothing if already closed."""
        self._link.close()

    async def exchange(self, payload: bytes, replies: int, silence: Silence | None = None) -> list[Any]:
        """Send packed commands in one write and read `replies` replies.

        Replies are hiredis' values: bytes, int, None, list, or a StoreError for an error reply. If the server's role
        has changed, `has_moved` is True afterwards.

        Raises:
            StoreUnavailable: The connection broke, or is silent while a new one is answered. It is unknown whether the
                commands took effect.
            StoreError: The peer does not speak RESP, or its replies exceed MAX_REPLY_BYTES.
        """
        looks = trio.current_time() >= self._look_at
        try:
            await self._link.send(payload + _LOOK if looks else payload)
        except _BROKEN as error:
            raise await self._last_words() or self._broken(error) from error
        try:
            answers = await self._read(replies + looks, silence)
        except _BROKEN as error:
            raise self._broken(error) from error
        if looks:
            self._note_role(answers.pop())
        return answers

    async def hear(self) -> None:
        """Wait for a message that the server sends unasked; drop it and all that came with it.

        Raises:
            StoreUnavailable: The connection broke.
            StoreError: The peer does not speak RESP.
        """
        try:
            await self._read(1)
            while self._reader.has_data() and self._reader.gets() is not _NOT_ENOUGH:
                pass
        except _BROKEN as error:
            raise self._broken(error) from error

    def _note_role(self, answer: object) -> None:
        """Record the server's role from a reply to INFO. If the reply has none, do not ask again."""
        found = _ROLE.search(answer) if isinstance(answer, bytes) else None
        if found is None:
            self._look_at = math.inf
            return
        self.has_moved = self._role is not None and self._role != found[1]
        self._role = found[1]
        self._look_at = trio.current_time() + _LOOK_EVERY_S

    def _broken(self, error: BaseException) -> StoreUnavailable:
        return StoreUnavailable(f"connection to {self._address} broke: {_reason(error)}")

    async def _last_words(self) -> StoreUnavailable | None:
        """Return the error that the server sent before it closed the connection, as beyond maxclients; else None."""
        try:
            try:
                heard = await self._link.receive()
            except ConnectionResetError:
                # The kernel reports the reset first, and at the next read returns the bytes that came before it.
                heard = await self._link.receive()
            self._feed(heard)
            words = self._reader.gets()
        except (*_BROKEN, StoreError):
            return None
        return words if isinstance(words, StoreUnavailable) else None

    async def converse(
        self, batches: Iterable[tuple[bytes, int]], reader: ReplyReader, progress: Callable[[], None], silence: Silence
    ) -> None:
        """Send batches, at most two of them unanswered at a time, and have `reader` parse the replies.

        Args:
            batches: Packed commands and their number, for each batch; drawn one at a time, when it can be sent.
            reader: Parser of the replies.
            progress: Called after each batch whose replies are complete.
            silence: When to try a new connection.

        Raises:
            StoreUnavailable: As `exchange`.
            StoreError: The replies do not have the shape that `reader` expects, or exceed MAX_REPLY_BYTES for a batch.
        """
        marks: deque[int] = deque()
        sent = complete = 0
        try:
            for payload, commands in batches:
                await self._link.send(payload)
                sent += commands
                marks.append(sent)
                if len(marks) == _UNDER_WAY:
                    complete = await self._read_on(reader, complete, marks.popleft(), silence)
                    progress()
            while marks:
                complete = await self._read_on(reader, complete, marks.popleft(), silence)
                progress()
        except _BROKEN as error:
            raise self._broken(error) from error
        if complete != sent:
            raise StoreError(f"{self._address} gave {complete} answers to {sent} commands")

    async def _read_on(self, reader: ReplyReader, complete: int, until: int, silence: Silence) -> int:
        """Read until `until` replies of the conversation are complete, of which `complete` are; return how many are."""
        received = 0
        while complete < until:
            data = await self._receive(silence)
            if not data:
                raise StoreUnavailable(f"{self._address} closed the connection")
            received += len(data)
            self._check_size(received)
            try:
                complete = reader.feed(data)
            except ValueError as error:
                raise StoreError(f"{self._address} does not answer as asked: {error}") from error
        return complete

    async def _receive(self, silence: Silence | None) -> bytes | memoryview:
        """Wait for bytes; after a silence, raise StoreUnavailable if a new connection is answered."""
        if silence is None:
            return await self._link.receive()
        while True:
            with trio.move_on_after(silence.after_s):
                return await self._link.receive()
            if await silence.answers_anew() and self._link.is_quiet():
                self.has_moved = True
                raise StoreUnavailable(f"{self._address} was silent, and answers a new connection or was replaced")

    async def _read(self, replies: int, silence: Silence | None = None) -> list[Any]:
        gets = self._reader.gets
        answers: list[Any] = []
        received = 0
        if not self._reader.has_data():
            # If bytes are left, the next ones continue a reply that has begun.
            self._lengths = AnnouncedLengths()
        while True:
            while len(answers) < replies:
                try:
                    answer = gets()
                except Exception as error:
                    # An error of the parser, or a reply that Python cannot represent, such as a set of lists.
                    raise StoreError(f"{self._address} does not answer in Redis' protocol: {error}") from error
                if answer is _NOT_ENOUGH:
                    break
                answers.append(answer)
            else:
                return answers
            data = await self._receive(silence)
            if not data:
                if answers and isinstance(answers[0], StoreUnavailable):
                    # The server sent an error before it closed the connection.
                    raise answers[0]
                raise StoreUnavailable(f"{self._address} closed the connection")
            received += len(data)
            self._check_size(received)
            self._lengths.check(bytes(data))
            self._feed(data)

    def _check_size(self, received: int) -> None:
        if received > MAX_REPLY_BYTES:
            raise StoreError(f"answer of {self._address} exceeds {MAX_REPLY_BYTES} bytes; ask for less at a time")


def _tls_failure(address: Address, error: ssl.SSLError) -> StoreError:
    """Return the error of a failed TLS handshake, which names the setting that cures it if there is one."""
    cure = ""
    if isinstance(error, ssl.SSLCertVerificationError):
        cure = "; if its authority is a private one, set redis_ca_file; redis_url must have the certificate's host name"
    return StoreError(f"TLS with {address} failed: {error}{cure}")


async def open_connection(address: Address, tls: ssl.SSLContext | None) -> Connection:
    """Connect, log in and select the database. Nothing stays open when this raises or is cancelled.

    Raises:
        StoreUnavailable: The server cannot be reached, or cannot serve now (LOADING, maxclients).
        StoreDenied: User or password is wrong or missing.
        StoreRefused: The server has no such database.
        StoreError: The TLS handshake failed, or the peer does not speak RESP.
    """
    try:
        link = await open_link(address, tls)
    except ssl.SSLError as error:
        raise _tls_failure(address, error) from error
    except trio.BrokenResourceError as error:
        if isinstance(error.__cause__, ssl.SSLError):
            raise _tls_failure(address, error.__cause__) from error
        raise StoreUnavailable(f"cannot connect to {address}: {_reason(error)}") from error
    except OSError as error:
        raise StoreUnavailable(f"cannot connect to {address}: {_reason(error)}") from error
    connection = Connection(link, address)
    try:
        await _greet(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _greet(connection: Connection, address: Address) -> None:
    commands: list[Command] = []
    if address.password is not None:
        user = () if address.username is None else (address.username,)
        commands.append(("AUTH", *user, address.password))
    if address.db:
        commands.append(("SELECT", address.db))
    needed = len(commands)
    commands.append(("CLIENT", "SETNAME", CLIENT_NAME))
    answers = await connection.exchange(b"".join(map(pack, commands)), len(commands))
    for answer in answers[:needed]:
        if isinstance(answer, StoreError):
            raise answer
    named = answers[needed]
    # The name is optional: an ACL user without the right to CLIENT goes on without it.
    if isinstance(named, StoreError) and named.code not in {"NOPERM", "ERR"}:
        raise named


def _reason(error: BaseException) -> str:
    """Return the cause of `error` in a few words: trio wraps the operating system's own message."""
    cause = error.__cause__ or error
    if isinstance(cause, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(_reason(inner) for inner in cause.exceptions))
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
