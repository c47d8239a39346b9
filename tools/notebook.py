"""Executes docs/inside_solo.ipynb, in minutes, and stores in it what it shows but progress bars."""

import sys
from pathlib import Path

import nbclient
import nbformat

NOTEBOOK = Path(__file__).parents[1] / "docs/inside_solo.ipynb"


def executed(folder: Path, parameters: str = "") -> nbformat.NotebookNode:
    """The notebook as it is after all its cells ran in a folder.

    Args:
      folder: where.
      parameters: what is to run behind the cell of that name.
    """
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            stored, cell.source = cell.source, f"{cell.source}\n{parameters}"
            break
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=None, resources=resources).execute()
    cell.source = stored
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        cell.outputs = [one for one in cell.get("outputs", ()) if one.get("name") != "stderr"]
        if cell.cell_type == "markdown":
            del cell["outputs"]
    return notebook


def main() -> int:
    """Executes and stores."""
    nbformat.write(executed(NOTEBOOK.parent), NOTEBOOK)
    return 0


if __name__ == "__main__":
    sys.exit(main())
