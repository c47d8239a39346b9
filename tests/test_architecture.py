"""The floors: a module imports only from floors below its own or from its own folder."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "solojax"
FLOORS = {
    "types": 0,
    "fields": 1,
    "writing": 1,
    "compilation": 1,
    "allocator": 1,
    "device_memory": 1,
    "parallel": 1,
    "progress": 1,
    "signs": 1,
    "timing": 1,
    "processes": 2,
    "config": 2,
    "ops": 2,
    "models": 3,
    "data": 3,
    "heads": 4,
    "convert": 5,
    "training": 6,
    "inference": 7,
    "evaluation": 8,
    "export": 8,
    "demo": 8,
    "bench": 9,
    "recipe": 9,
    "sharing": 9,
    "cli": 10,
}
ROOMS = {  # of a floor that has some: upwards; the modules beside them know them all
    "data": ["findings", "rle", "panoptic_ids", "images", "annotations", "health", "records"],
    "evaluation": ["dataset", "metrics", "results", "analysis", "report"],
}
BANNED = {  # third-party module -> rooms that must not know it
    "jax": {"types", "fields", "writing", "progress", "compilation", "config", "data"},
    "flax": {"types", "fields", "writing", "progress", "config", "data", "ops", "parallel"},
    "tensorflow": {
        "types",
        "fields",
        "writing",
        "progress",
        "config",
        "parallel",
        "processes",
        "ops",
        "models",
        "heads",
        "convert",
    },
    "tensorflow_datasets": {
        "types",
        "fields",
        "writing",
        "progress",
        "config",
        "parallel",
        "ops",
        "models",
        "heads",
        "convert",
    },
}
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 300
LIGHT = {  # what a command may import at once
    "solojax.__version__",
    "solojax.cli",
    "solojax.allocator",
    "solojax.compilation",
    "solojax.config",
    "solojax.types",
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> list[str]:
    """Dotted names of all that a module imports, inside functions as well."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_below(path):
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports_of(path):
        top, *rest = name.split(".")
        assert room not in BANNED.get(top, set()), f"{room} must not know {top}"
        if top == "solojax" and rest != ["__version__"]:
            other = rest[0]
            allowed = other == room or FLOORS[other] < FLOORS[room]
            assert allowed, f"{room} ({FLOORS[room]}) imports {other} ({FLOORS[other]})"


@pytest.mark.parametrize(
    ("floor", "room"), [(f, room) for f, rooms in ROOMS.items() for room in rooms]
)
def test_a_room_of_a_floor_imports_only_from_those_below(floor, room):
    below = ROOMS[floor][: ROOMS[floor].index(room) + 1]
    folder = PACKAGE / floor / room
    for path in folder.glob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]:
        for name in imports_of(path):
            if name.startswith(f"solojax.{floor}."):
                assert name.split(".")[2] in below, f"{path} imports {name}"


def test_every_room_has_its_floor():
    assert {room_of(path) for path in MODULES} - {"__init__"} == set(FLOORS)
    assert (PACKAGE / "py.typed").exists()


def test_no_module_has_outgrown_the_rest():
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in MODULES
    }
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_the_command_line_imports_what_is_heavy_only_when_a_command_runs():
    for path in (PACKAGE / "cli").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                top, *rest = name.split(".")
                light = top in sys.stdlib_module_names or ".".join([top, *rest[:1]]) in LIGHT
                assert light, f"{path.name} imports {name} before its command runs"


def test_collectives_live_in_the_training_step_alone():
    for path in MODULES:
        names = {
            node.attr
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Attribute)
        }
        if names & {"psum", "pmean", "pmax", "all_gather", "axis_index"}:
            assert path == PACKAGE / "training" / "step.py"
