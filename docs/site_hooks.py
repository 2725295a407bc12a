"""What mkdocs does beside its plugins: pages that lie outside docs/, and links between them and those inside."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: Any) -> Files:
    """Add benchmarks/README.md, that of each benchmark, and their plots, under the same paths."""
    for pattern in ("benchmarks/**/README.md", "benchmarks/**/*.png"):
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links at these pages, which lie beside docs/ in the repository and under it in the site."""
    if page.file.src_uri.startswith("benchmarks/"):
        return re.sub(r"\]\(((?:\.\./)*)docs/", r"](\1", markdown)
    return markdown.replace("](../benchmarks/", "](benchmarks/")


def on_page_content(html: str, **_: Any) -> str:
    """Turn what docstrings write as :func:`name` into a link where the page has that name, and else into code."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        code = f"<code>{name.removeprefix('gateshift.')}</code>"
        target = next((each for each in (name, f"gateshift.{name}") if f'id="{each}"' in html), None)
        return f'<a href="#{target}">{code}</a>' if target else code

    return re.sub(r":(?:func|class|meth|mod|attr):<code>~?([\w.]+)</code>", link, html)
