"""The house: who imports whom, how many files a room has, and that the page about it is true."""

import ast
import importlib.metadata
import importlib.util
import re
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

from gateshift.recipes.recipe import tomllib

ROOT = Path(__file__).parent.parent
MAX_FILES = 14
# Modules that everything else may use.
GENERAL = {"errors", "files", "devices", "version"}
# What comes with torch where it can be used, and what torch's own modules need that we use.
WITH_TORCH = {"triton"}
FOR_TORCH = {"tensorboard", "onnx", "onnxscript"}


def load_drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


drawing = load_drawing()
MODULES: dict[str, Path] = drawing.read_modules()
IMPORTS: dict[str, set[str]] = drawing.read_imports(MODULES)
ROOMS: dict[str, set[str]] = drawing.merge(IMPORTS, {name: drawing.room_of(name, MODULES) for name in MODULES})
PACKAGES: dict[str, set[str]] = drawing.merge(ROOMS, {room: room.split(".")[0] for room in ROOMS})


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert drawing.find_circle(IMPORTS) == []


def test_no_room_imports_itself_by_way_of_others() -> None:
    circle = drawing.find_circle(ROOMS)
    ends = list(pairwise(circle))
    room = {name: drawing.room_of(name, MODULES) for name in MODULES}
    assert [(name, other) for name in IMPORTS for other in IMPORTS[name] if (room[name], room[other]) in ends] == []


def test_no_package_imports_itself_by_way_of_others() -> None:
    assert drawing.find_circle(PACKAGES) == []


@pytest.mark.parametrize("home", ["data", "model"])
def test_data_and_model_know_neither_each_other_nor_what_is_above_them(home: str) -> None:
    assert PACKAGES[home] <= GENERAL


@pytest.mark.parametrize(("name", "other"), drawing.LATE, ids=" -> ".join)
def test_an_import_upwards_that_is_excused_is_in_one_function_alone(name: str, other: str) -> None:
    nodes = ast.parse(MODULES[name].read_text("utf-8"))

    def places(tree: ast.AST) -> list[ast.ImportFrom]:
        return [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom) and each.module == other]

    of_types = [each for part in nodes.body if "TYPE_CHECKING" in ast.dump(part) for each in places(part)]
    in_functions = [
        each for function in ast.walk(nodes) if isinstance(function, ast.FunctionDef) for each in places(function)
    ]
    assert len(in_functions) == 1
    assert len(places(nodes)) == len(of_types) + 1


def test_what_everything_may_use_knows_nothing_else() -> None:
    assert {name: PACKAGES[name] - GENERAL for name in GENERAL if PACKAGES[name] - GENERAL} == {}


def test_nothing_knows_the_command_line() -> None:
    assert sorted(name for name, others in PACKAGES.items() if "cli" in others) == ["__main__"]


def test_nothing_below_the_public_names_imports_them() -> None:
    assert sorted(name for name, others in IMPORTS.items() if "gateshift" in others) == []


def test_no_room_has_more_files_than_one_finds_ones_way_in() -> None:
    folders = {path.parent for path in MODULES.values()}
    counts = {folder.relative_to(ROOT).as_posix(): len(list(folder.glob("*.py"))) for folder in folders}
    assert {folder: count for folder, count in counts.items() if count > MAX_FILES} == {}


@pytest.mark.slow
def test_every_module_says_in_its_first_line_what_it_is() -> None:
    documented = drawing.write_map(MODULES)
    assert [line for line in documented.splitlines() if line.endswith("|  |")] == []
    assert [
        name for name, path in MODULES.items() if path.name != "__init__.py" and f"`{path.name}`" not in documented
    ] == []


@pytest.mark.slow
def test_the_picture_and_the_map_are_those_of_these_imports() -> None:
    command = "run make architecture"
    assert drawing.PICTURE.read_text("utf-8") == drawing.draw(MODULES, IMPORTS), command
    page = drawing.PAGE.read_text("utf-8")
    assert page == drawing.fill_page(page, MODULES), command


def test_the_picture_shows_each_package_and_each_room_of_data_and_model() -> None:
    texts = {each.text for each in ElementTree.parse(drawing.PICTURE).iter("{http://www.w3.org/2000/svg}text")}
    wanted = {room.split(".")[0] for room in ROOMS if (ROOT / "src/gateshift" / room.split(".")[0]).is_dir()}
    wanted |= {room.split(".")[1] for room in ROOMS if room.startswith(("data.", "model."))}
    assert {f"{name}/" for name in wanted} <= texts


@pytest.mark.parametrize(
    ("statement", "wanted"),
    [
        ("from p.b import name", "p.b"),
        ("from p import b", "p.b"),
        ("import p.b as other", "p.b"),
        ("from .b import name", "p.b"),
        ("def f():\n    from p import b", "p.b"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import Name", "p.b"),
    ],
)
def test_imports_of_every_form_are_seen(statement: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(statement)
    (tmp_path / "b.py").write_text("")
    found = drawing.read_imports({"p.a": tmp_path / "a.py", "p.b": tmp_path / "b.py"})
    assert found == {"p.a": {wanted}, "p.b": set()}


def test_circles_are_found_and_arrows_that_say_nothing_new_are_left_out() -> None:
    assert drawing.find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert drawing.find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
    assert drawing.reduce({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}


def bare_name(requirement: str) -> str:
    """The name of a distribution, as it is compared."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def imported_packages(tree: ast.AST) -> set[str]:
    """The packages that a module takes from elsewhere, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - {"gateshift"}


@pytest.mark.slow
def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *(line for name in ("export", "litert", "executorch", "coreml", "demo", "cluster") for line in extras[name]),
    ]
    distributions = importlib.metadata.packages_distributions()
    used = {
        bare_name(distributions.get(package, [package])[0])
        for path in MODULES.values()
        for package in imported_packages(ast.parse(path.read_text(encoding="utf-8")))
    }
    declared = {bare_name(line) for line in lines}
    assert sorted(used - declared - WITH_TORCH) == []
    assert sorted(declared - used - FOR_TORCH) == []
