"""The stub of the native module says what the module has."""

from __future__ import annotations

import subprocess
import sys


def test_stub_matches_the_module():
    command = [sys.executable, "-m", "mypy.stubtest", "reconciler_engine._native"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
