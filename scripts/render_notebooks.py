#!/usr/bin/env python3
"""Execute the notebooks, each in a fresh kernel, and write them as HTML for reading.

./lab python scripts/render_notebooks [FOLDER]        (default: build/notebooks)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

read: Any = nbformat.read  # untyped, where they are installed at all
exporter: Any = HTMLExporter
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/notebooks")
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = read(path, as_version=4)
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
        page, _ = exporter().from_notebook_node(notebook)
        target = folder / f"{path.stem}.html"
        target.write_text(page, encoding="utf-8")
        print(target)


if __name__ == "__main__":
    main()
