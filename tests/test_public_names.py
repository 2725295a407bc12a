"""The public names: all there, all lazy, the same for a running program and for the type checkers of its users."""

import ast
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import gateshift as gs

ROOT = Path(__file__).parent.parent


def names_for_type_checkers() -> dict[str, str]:
    """What is imported in the block for type checkers: the module of each name."""
    tree = ast.parse(Path(gs.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {each.name: node.module or "" for node in imports for each in node.names}


def test_type_checkers_see_the_names_that_a_program_gets() -> None:
    assert names_for_type_checkers() == gs._HOMES
    assert sorted(gs._HOMES) == sorted(gs.__all__)


@pytest.mark.parametrize("name", gs.__all__)
def test_a_public_name_is_that_of_its_module(name: str) -> None:
    assert getattr(gs, name) is getattr(import_module(gs._HOMES[name]), name)
    assert name in dir(gs)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'gateshift' has no attribute 'no_such'"):
        gs.no_such  # noqa: B018 - reading it is the test


@pytest.mark.slow
def test_a_program_that_uses_the_names_passes_a_strict_type_checker(tmp_path: Path) -> None:
    # In a folder of its own, so that the settings of this repository say nothing.
    (tmp_path / "user.py").write_text((ROOT / "tests" / "typed_user.py").read_text("utf-8"), "utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["MYPYPATH"] = str(ROOT / "src")
    once = f"--cache-dir={os.devnull}"  # nobody asks again what it has found of torch
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", once, "user.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "Success: no issues found in 1 source file\n")
