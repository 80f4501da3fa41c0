"""The private directory of the server's socket: its path is short, and it is removed after the server has ended."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from reconciler_engine.errors import ConfigError

# Most bytes of a unix socket's path: 108 on Linux, 104 on macOS and the BSDs, less 1 for the closing zero.
MAX_SOCKET_PATH: Final = 107 if sys.platform == "linux" else 103

_NAME_FILE: Final = "socket"
_NAME: Final = re.compile(r"[0-9a-f]{16}")


def socket_directory(data_directory: Path, roots: Sequence[Path] | None = None) -> Path:
    """Make the private directory for the socket of an existing data directory, or find it again.

    It is made in the first of `roots` that is a directory; by default the user's runtime directory, then /tmp. Both
    have short paths, while that of the data directory may be too long for a socket. Each start finds it again: in a
    root that only this user can write, its name is a hash of the data directory's real path. In other roots, its name
    is drawn at random and kept in the data directory; if another user has taken the name, a new one is drawn.

    Raises:
        ConfigError: No root exists, the directory is not private, or its path is too long for a socket.
        OSError: It cannot be made.
    """
    uid = os.geteuid()
    candidates = _default_roots(uid) if roots is None else roots
    root = next((root for root in candidates if root.is_dir()), None)
    if root is None:
        raise ConfigError([f"no directory for the server's socket: none of {', '.join(map(str, candidates))} exists"])
    digest = hashlib.sha256(os.fsencode(data_directory.resolve())).hexdigest()[:12]
    hashed = root / f"reconciler-engine-{uid}-{digest}"
    if _is_private(root, uid):
        return _make(hashed, uid)
    # An engine of an earlier version may have left it there.
    remove_socket_directory(hashed)
    kept = data_directory / _NAME_FILE
    try:
        return _make(root / f"reconciler-engine-{uid}-{_read_name(kept) or _draw_name(kept)}", uid)
    except ConfigError:
        return _make(root / f"reconciler-engine-{uid}-{_draw_name(kept)}", uid)


def socket_path(directory: Path) -> Path:
    """Return the socket's path in its private directory."""
    return directory / "redis.sock"


def remove_socket_directory(directory: Path) -> None:
    """Remove the directory of a server that has ended, if it exists and only this user can write in it."""
    with suppress(OSError):
        if _is_private(directory, os.geteuid()):
            socket_path(directory).unlink(missing_ok=True)
            directory.rmdir()


def _default_roots(uid: int) -> tuple[Path, ...]:
    runtime = Path("/run/user") / str(uid)
    # S108: the name in it is drawn at random, and its sticky bit keeps others from replacing the directory.
    shared = Path("/tmp")  # noqa: S108
    return (runtime, shared) if os.access(runtime, os.W_OK) else (shared,)


def _read_name(kept: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        name = kept.read_text("ascii")
        return name if _NAME.fullmatch(name) else None
    return None


def _draw_name(kept: Path) -> str:
    """Draw a name, and keep it for the next start if it can be written."""
    name = secrets.token_hex(8)
    with suppress(OSError):
        kept.unlink(missing_ok=True)
        kept.touch(mode=0o600)
        kept.write_text(name, "ascii")
    return name


def _make(directory: Path, uid: int) -> Path:
    length = len(os.fsencode(socket_path(directory)))
    if length > MAX_SOCKET_PATH:
        raise ConfigError(
            [f"socket path in {directory.parent} has {length} bytes; a unix socket takes at most {MAX_SOCKET_PATH}"]
        )
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        _check_private(directory, uid)
    return directory


def _is_private(directory: Path, uid: int) -> bool:
    found = directory.lstat()
    return stat.S_ISDIR(found.st_mode) and found.st_uid == uid and not found.st_mode & 0o022


def _check_private(directory: Path, uid: int) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigError(
            [f"{directory} is in the way of the server's socket directory: it is not a directory; remove it"]
        )
    if found.st_uid != uid:
        raise ConfigError([f"{directory} belongs to uid {found.st_uid}, not to {uid}; it is not used for the socket"])
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise ConfigError([f"{directory} has mode {mode:04o}; the socket's directory must be 0700"])
