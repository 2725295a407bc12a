"""The notebook runs from its first cell to its last."""

import os
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "examples" / "own_clips.ipynb"
# Every cell runs as it stands, but for these two numbers: how well the model learns is not looked at here.
FEWER = {"train_per_class=32": "train_per_class=8", "--epochs 18": "--epochs 4"}


@pytest.mark.slow
def test_the_notebook_leads_from_a_folder_of_clips_to_a_model_and_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    text = NOTEBOOK.read_text(encoding="utf-8")
    for number, smaller in FEWER.items():
        assert text.count(number) == 1
        text = text.replace(number, smaller)
    notebook = nbformat.reads(text, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    texts = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("pick up" in text and "put down" in text for text in texts)
    assert (tmp_path / "run" / "last.safetensors").stat().st_size > 0
    assert "Confus" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_the_notebook_is_committed_without_outputs() -> None:
    import nbformat

    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells)
