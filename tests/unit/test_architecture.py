"""The house's arrows point one way, and foreign libraries stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "python" / "reconciler_engine"

FLOORS = [
    {"errors", "steps", "program_start"},
    {"market", "http_server"},
    {"observe"},
    {"detection", "planning", "limiting", "scheduling"},
    {"archive"},
    {"inspection"},
    {"simulator"},
    {"coinbase", "webhook"},
    {"config"},
    {"store"},
    {"engine"},
    {"supervisor"},
    {"cli"},
    {"__main__"},
]
"""Rooms from the ground up; a room imports from its own floor's room and from lower floors only."""

SUBROOMS = {
    "engine": [{"tasks", "simulated_feeder"}, {"passes"}, {"backfill"}, {"roles"}],
    "store": [{"client"}, {"embedded", "drivers"}],
    "simulator": [{"prices"}, {"faults"}, {"rules"}],
    "cli": [{"backfill", "coverage", "doctor"}],
}
"""The rooms within a room, from the ground up; one imports from those below it, and none from one above."""

HOMES = {
    "redis": {"store"},
    "hiredis": {"store"},
    "httpx": {"coinbase", "webhook"},
    "httpcore": {"coinbase"},
    "jwt": {"coinbase", "simulator"},
    "cryptography": {"coinbase", "simulator"},
    "h11": {"coinbase", "http_server"},
    "prometheus_client": {"observe"},
    "click": {"cli"},
    "pyarrow": set(),
    "subprocess": {"supervisor"},
    "multiprocessing": set(),
    "asyncio": {"store", "engine"},
    "requests": set(),
}
"""Packages that may import each of these libraries; other libraries are free."""

REPEATED = {
    "candles.py": {"coinbase", "store"},
    "members.py": {"detection", "store"},
    "feeder.py": {"engine/roles", "engine/simulated_feeder"},
    "worker.py": {"engine/roles", "engine/tasks"},
}
"""File names that stand in two rooms. A command in `cli` may be named as the room's file whose content it shows."""


@pytest.fixture(scope="module")
def nodes() -> dict[Path, list[ast.AST]]:
    """Return the syntax nodes of each file of the package, by its path in there."""
    return {
        path.relative_to(PACKAGE): list(ast.walk(ast.parse(path.read_text()))) for path in sorted(PACKAGE.rglob("*.py"))
    }


@pytest.fixture(scope="module")
def imports(nodes) -> list[tuple[str, str, str]]:
    """(file, its room, module it imports) for every import in the package."""
    found = []
    for file, held in nodes.items():
        room = file.parts[0].removesuffix(".py")
        for node in held:
            if isinstance(node, ast.Import):
                found += [(str(file), room, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{file} imports relatively"
                found.append((str(file), room, str(node.module)))
    return found


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def test_every_arrow_points_down(imports):
    upward = []
    for file, room, module in imports:
        parts = module.split(".")
        if parts[0] != "reconciler_engine" or room == "__init__" or len(parts) < 2 or parts[1] == "_native":
            continue
        target = parts[1]
        if target != room and floor_of(target) >= floor_of(room):
            upward.append(f"{file}: {room} -> {target}")
    assert upward == []


def test_sub_rooms_import_only_from_the_ones_below_them(imports):
    upward = []
    for file, room, module in imports:
        parts = module.split(".")
        if parts[:2] != ["reconciler_engine", room] or len(parts) < 4:
            continue
        floors = SUBROOMS.get(room, [])
        source, target = Path(file).parts[1], parts[2]
        own, other = (next((n for n, rooms in enumerate(floors) if name in rooms), None) for name in (source, target))
        if own is not None and other is not None and source != target and other >= own:
            upward.append(f"{file}: {room}/{source} -> {room}/{target}")
    assert upward == []


def test_each_folder_of_a_room_has_its_floor():
    folders = {(init.parts[0], init.parts[1]) for path in PACKAGE.rglob("__init__.py")
               if len((init := path.relative_to(PACKAGE)).parts) == 3}  # fmt: skip
    ordered = {(room, name) for room, floors in SUBROOMS.items() for rooms in floors for name in rooms}
    assert folders - ordered == {("observe", "web")}


def test_a_file_name_belongs_to_one_room(nodes):
    rooms: dict[str, set[str]] = {}
    for file in nodes:
        if file.parts[0] != "cli" and file.name != "__init__.py":
            rooms.setdefault(file.name, set()).add(str(file.parent))
    assert {name: found for name, found in rooms.items() if len(found) > 1} == REPEATED


def test_foreign_libraries_stay_in_their_rooms(imports):
    strays = [
        f"{file} imports {module}"
        for file, room, module in imports
        if room not in HOMES.get(module.split(".")[0], {room})
    ]
    assert strays == []


def test_redis_is_spoken_to_below_the_store_alone(nodes):
    speakers = [
        f"{file}: {name}"
        for file, found in nodes.items()
        if file.parts[0] != "store"
        for node in found
        if isinstance(node, ast.Call) and (name := called(node)) in {"execute_command", "pipe", "Script"}
    ]
    assert speakers == ["supervisor/server_program.py: pipe"]  # os.pipe


def called(call: ast.Call) -> str:
    """The last name of what is called: `pipe` of `client.pipe(...)`."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def test_only_the_command_line_reads_the_environment(nodes):
    switches = {"detection/implementation.py"}
    readers = [
        str(file)
        for file, held in nodes.items()
        if any(isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"} for node in held)
    ]
    assert [file for file in readers if not file.startswith("cli/") and file not in switches] == []


def test_the_top_level_holds_what_was_asked_for():
    top = {path.name for path in PACKAGE.parents[1].iterdir() if not path.name.startswith(".")}
    built = {"target", "dist"}
    assert top - built - {"CHANGELOG.md"} == {
        "Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "benches", "pyproject.toml", "python", "rust", "tests",
    }  # fmt: skip
