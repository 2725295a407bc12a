"""The documentation site: it builds without a warning, and every public name is documented."""

import dataclasses
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gateshift

ROOT = Path(__file__).parent.parent
STABLE, DEEPER = (
    re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE)
    for page in ("api.md", "api-deeper.md")
)
REFERENCE = [*STABLE, *DEEPER]


def find(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def test_the_reference_has_the_public_names_and_another_page_what_lies_deeper() -> None:
    assert sorted(STABLE) == sorted(f"gateshift.{name}" for name in gateshift.__all__)
    assert [name for name in DEEPER if name.count(".") < 2] == []


def test_every_name_that_a_document_imports_is_in_the_reference() -> None:
    text = "".join(path.read_text("utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    imported = re.findall(r"^from (gateshift[\w.]*) import ([\w, ]+)", text, re.MULTILINE)
    names = {f"{module}.{name.strip()}" for module, listed in imported for name in listed.split(",")}
    assert names
    assert sorted(names - set(REFERENCE)) == []


@pytest.mark.parametrize("name", REFERENCE)
def test_the_reference_says_what_a_name_takes_gives_and_refuses(name: str) -> None:
    documented = find(name)
    methods = [
        method
        for attribute, method in vars(documented).items()
        if inspect.isclass(documented) and inspect.isfunction(method) and not attribute.startswith("_")
    ]
    assert inspect.getdoc(documented)
    missing = [] if issubclass(type(documented), type) and issubclass(documented, Exception) else lacking(documented)
    missing += [f"{method.__name__}: {part}" for method in methods for part in lacking(method)]
    assert missing == []


def lacking(documented: Any) -> list[str]:
    """What its docstring does not say: arguments (attributes of a dataclass), result, shapes of tensors, errors."""
    text = inspect.getdoc(documented) or ""
    for other in re.findall(r"(?:those|fields) of\s+:class:`~?([\w.]+)`", text):  # where the others are described
        text += inspect.getsource(find(other if "." in other else f"gateshift.{other}"))
    if dataclasses.is_dataclass(documented):
        return [each.name for each in dataclasses.fields(documented) if f"{each.name}:" not in text]
    parameters = [each for each in inspect.signature(documented).parameters.values() if each.name != "self"]
    if inspect.isclass(documented) and "__init__" not in vars(documented):
        parameters = []
    described = [each.name for each in parameters if not re.search(rf"\b{each.name}(`|:)", text)]
    # Of one argument or two the first line may say it all.
    missing = described if len(parameters) > 2 or "Args:" in text else []
    tensors = [each.annotation for each in parameters if "Tensor" in str(each.annotation)]
    if tensors and "[" not in text:
        missing.append("shapes")
    if not inspect.isclass(documented):
        result = str(inspect.signature(documented).return_annotation)
        known = {name.rpartition(".")[2] for name in REFERENCE}  # what a dataclass holds is said at the dataclass
        if len(parameters) > 2 and result not in {"None", *known} and not re.search(r"Returns:|Yields:", text):
            missing.append("Returns")
        if re.search(r"^\s+raise \w*Error\(", inspect.getsource(documented), re.MULTILINE) and "Raises:" not in text:
            missing.append("Raises")
    return missing


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_other_server(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    told = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("INFO ")]
    assert (done.returncode, told) == (0, [])
    for page in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(?:https?:)?//[^>]+>", page.read_text("utf-8"))
        assert [each for each in fetched if "canonical" not in each] == []
    for page, names in {"api": STABLE, "api-deeper": DEEPER}.items():
        reference = (tmp_path / "site" / f"{page}.html").read_text("utf-8")
        assert [name for name in names if f'id="{name}"' not in reference] == []
        assert ":func:" not in reference and ":class:" not in reference
