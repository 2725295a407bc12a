"""Write examples/python.ipynb: docs/python.md as a notebook, its text and its code in turn.

python docs/write_notebook.py
"""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
from nbformat import v4

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"
NOTEBOOK = ROOT / "examples" / "python.ipynb"


def make_notebook(page: str) -> nbformat.NotebookNode:
    """The cells of a page: a code cell for each block of Python, a text cell for what is between two."""
    cells = []
    for number, part in enumerate(re.split(r"```python\n(.*?)```", page, flags=re.DOTALL)):
        if part.strip():
            make = v4.new_code_cell if number % 2 else v4.new_markdown_cell
            text = part.strip() if number % 2 else re.sub(r"\]\((\w+\.md)", r"](../docs/\1", part.strip())
            cells.append(make(text, id=f"cell-{len(cells)}"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


if __name__ == "__main__":
    nbformat.write(make_notebook(PAGE.read_text("utf-8")), NOTEBOOK)
