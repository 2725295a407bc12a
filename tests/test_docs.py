"""What the documents say is true."""

import re
from pathlib import Path

import pytest

from gateshift.cli import VERBS

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


def test_the_readmes_commands_exist() -> None:
    verbs = set(re.findall(r"gateshift ([a-z]+) ", (ROOT / "README.md").read_text()))
    assert verbs & set(VERBS)
    for line in re.findall(r"^gateshift (.*?)(?:  #.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert line.split()[0] in VERBS


def test_the_map_of_the_files_names_each_of_them() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    modules = [path.name for path in (ROOT / "src" / "gateshift").rglob("*.py")]
    missing = [name for name in modules if f"`{name}`" not in text and name not in ("__init__.py", "__main__.py")]
    assert missing == []
