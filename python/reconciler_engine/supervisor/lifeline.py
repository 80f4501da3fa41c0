"""The lifeline: a child ends when the pipe to its parent does, even while its Python is stuck."""

from __future__ import annotations

import importlib
import os
import threading
from types import ModuleType

ORPHANED = 70
"""Exit code of a child whose parent is gone."""


def hold(descriptor: int) -> None:
    """End this process with `ORPHANED` as soon as `descriptor`, a pipe's reading end, is at its end.

    The watcher is a native thread, which needs no interpreter; without the native module it is a Python thread, which
    cannot act while native code holds the interpreter.
    """
    native = _native()
    if native is not None:
        native.watch_lifeline(descriptor, ORPHANED)
    else:
        threading.Thread(target=_watch, args=(descriptor,), name="lifeline", daemon=True).start()


def _native() -> ModuleType | None:
    try:
        return importlib.import_module("reconciler_engine._native")
    except ImportError:
        return None


def _watch(descriptor: int) -> None:
    while os.read(descriptor, 4_096):
        pass
    os._exit(ORPHANED)
