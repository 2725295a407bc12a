"""docs/python.md: every line of it runs, prints what it says, and is in the notebook too."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from hub_server import TOKEN, Hub

sys.path.insert(0, str(Path(__file__).parent.parent / "docs"))
from write_notebook import NOTEBOOK, PAGE, make_notebook

BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub of one user, who is logged in."""
    from huggingface_hub import constants

    with Hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        yield server


def promised(block: str) -> list[str]:
    """What comments beside prints say will be printed, as patterns: ``...`` stands for anything."""
    comments = re.findall(r"^\s*print\(.*\)  # (.+)$", block, re.MULTILINE)
    return [re.escape(comment).replace(re.escape("..."), ".*") for comment in comments]


@pytest.mark.slow
@pytest.mark.usefixtures("hub")
@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # in the Hub's client
def test_the_page_runs_and_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in BLOCKS:
        exec(compile(block, PAGE.name, "exec"), names)
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) >= len(re.findall(r"^print\(", block, re.MULTILINE)) and all(lines)
        assert [each for each in promised(block) if not any(re.fullmatch(each, line) for line in lines)] == []


def test_the_notebook_is_the_page() -> None:
    assert nbformat.read(NOTEBOOK, as_version=4) == make_notebook(PAGE.read_text("utf-8")), "make notebook"
