"""What the documents say is true."""

import dataclasses
import re
from pathlib import Path

import pytest

from gateshift.cli import VERBS, parse
from gateshift.run.cost import recipe_costs
from gateshift.run.recipes import load_recipe, put_recipe, recipe_names
from gateshift.run.train_settings import AugmentOptions, ModelOptions, OptimOptions

ROOT = Path(__file__).parent.parent


def test_the_readmes_python_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "gsm at 8 sites (resnet)" in capsys.readouterr().out


def commands(text: str) -> list[list[str]]:
    """The gateshift commands of a document: lines of its shell blocks, and what stands in its tables."""
    blocks = "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))
    lines = re.findall(r"^\s*gateshift (.*?)(?:  #.*)?$", blocks, re.MULTILINE)
    return [line.split() for line in (*lines, *re.findall(r"<br>`gateshift (.*?)`", text))]


@pytest.mark.parametrize("document", ["README.md", "docs/published.md"])
def test_the_documents_commands_are_understood(document: str) -> None:
    found = commands((ROOT / document).read_text())
    assert len(found) >= 4
    for words in found:
        parts = put_recipe(words) if words[0] in ("train", "test") else {"": words}
        assert all(type(parse(each)) is VERBS[words[0]][0] for each in parts.values())


def test_every_published_row_is_in_the_documents_with_its_figure() -> None:
    rows = {
        line.split("`")[1]: line for line in (ROOT / "docs/published.md").read_text().splitlines() if "--recipe" in line
    }
    for recipe in map(load_recipe, recipe_names()):
        published = "not stated" if recipe.published is None else f"{recipe.published:.2f}"
        assert f"| {published} | not measured: needs the data set |" in rows[recipe.name]
        assert f"gateshift download {recipe.name}`" in rows[recipe.name]


def test_the_documents_costs_are_those_that_are_counted() -> None:
    text = (ROOT / "docs/published.md").read_text()
    for name in ("gsm-bninception-8", "gsf-resnet50-16"):
        plain, full = recipe_costs(load_recipe(name))
        figures = (plain.parameters / 1e6, full.parameters / 1e6)
        assert "{:.3f} | {:.3f} | {:.4f} | {:.4f}".format(*figures, plain.macs / 1e9, full.macs / 1e9) in text


def test_moving_over_names_options_that_there_are() -> None:
    known = {"--help"}
    for settings, _ in VERBS.values():
        for part in (settings, ModelOptions, OptimOptions, AugmentOptions):
            known |= {f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(part)}
    rows = [line.split("|") for line in (ROOT / "docs/moving-over.md").read_text().splitlines() if line.count("|") == 3]
    assert len(rows) > 60
    for row in rows:
        unknown = set(re.findall(r"--[a-z][a-z-]+", row[2])) - known
        assert not unknown, row


def test_the_map_of_the_files_names_each_of_them() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    modules = [path.name for path in (ROOT / "src" / "gateshift").rglob("*.py")]
    missing = [name for name in modules if f"`{name}`" not in text and name not in ("__init__.py", "__main__.py")]
    assert missing == []
