"""Choice of the implementation, and cost of its import, in fresh interpreters."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def run(program: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if name != "RECONCILER_PURE_PYTHON"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=inherited | environment,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


ASK = (
    "from reconciler_engine.detection import IMPLEMENTATION, detect_gaps; "
    "from reconciler_engine.detection.members import check_members; "
    "members = check_members([], 'A-B', '1m', 60_000).timestamps.tolist(); "
    "print(IMPLEMENTATION, detect_gaps([1], range(3), threads=0).to_list(), members)"
)


def test_native_is_chosen_where_it_is_built():
    assert run(ASK) == "native [(0, 0, 1), (2, 2, 1)] []"


def test_pure_is_forced_by_the_environment():
    assert run(ASK, RECONCILER_PURE_PYTHON="1") == "pure [(0, 0, 1), (2, 2, 1)] []"
    assert run(ASK, RECONCILER_PURE_PYTHON="0").startswith("native")


def test_pure_is_chosen_where_native_is_missing():
    hidden = "import sys; sys.modules['reconciler_engine._native'] = None; "
    assert run(hidden + ASK).startswith("pure")


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before Python 3.12 all interpreters share one GIL")
def test_pure_is_chosen_in_an_interpreter_with_its_own_gil():
    program = (
        "try:\n    import _interpreters as interpreters\n"
        "except ImportError:\n    import _xxsubinterpreters as interpreters\n"
        f"failed = interpreters.run_string(interpreters.create(), {ASK!r})\nassert failed is None, failed"
    )
    assert run(program).startswith("pure")


def test_a_refusal_of_subinterpreters_alone_is_answered_by_pure():
    program = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'reconciler_engine._native':\n"
        "            raise ImportError({reason!r})\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    refusal = "module reconciler_engine._native does not support loading in subinterpreters"
    assert run(program.format(reason=refusal) + ASK).startswith("pure")
    broken = (
        program.format(reason="undefined symbol: canary")
        + f"try:\n    exec({ASK!r})\nexcept ImportError as error:\n    print(error)"
    )
    assert run(broken) == "undefined symbol: canary"


@pytest.mark.parametrize("pure", ["0", "1"])
def test_importing_detection_loads_nothing_heavy(pure):
    loaded = run(
        "import sys; import reconciler_engine.detection; "
        "heavy = {'pydantic', 'redis', 'httpx', 'trio', 'numpy', 'ctypes', 'asyncio'}; "
        "print(sorted(heavy & set(sys.modules)))",
        RECONCILER_PURE_PYTHON=pure,
    )
    assert loaded == "[]"


def test_pure_says_what_arrow_export_needs():
    program = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from reconciler_engine.detection import detect_gaps\n"
        "try:\n    detect_gaps([1], range(3)).__arrow_c_stream__()\nexcept ImportError as refusal:\n    print(refusal)"
    )
    said = run(program, RECONCILER_PURE_PYTHON="1")
    assert said == "without the native module, Arrow export needs pyarrow: install it"


def test_pure_exports_by_pyarrow():
    pytest.importorskip("pyarrow", reason="pyarrow is in the bench extra, not in test")
    program = (
        "import pyarrow; from reconciler_engine.detection import detect_gaps, IMPLEMENTATION; "
        "print(IMPLEMENTATION, pyarrow.table(detect_gaps([1], range(3))).to_pylist())"
    )
    rows = "[{'start': 0, 'end': 0, 'count': 1}, {'start': 2, 'end': 2, 'count': 1}]"
    assert run(program, RECONCILER_PURE_PYTHON="1") == f"pure {rows}"
    assert run(program) == f"native {rows}"
