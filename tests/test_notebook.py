"""Claims about the notebook that looks inside a network."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_it_is_stored_with_its_pictures_and_is_small():
    path = ROOT / "docs/inside_solo.ipynb"
    cells = json.loads(path.read_text())["cells"]
    outputs = [one for cell in cells for one in cell.get("outputs", ())]
    assert sum("image/jpeg" in one.get("data", {}) for one in outputs) > 12
    assert {one.get("name", "stdout") for one in outputs} == {"stdout"}, "no bars, no warnings"
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")
    assert path.stat().st_size < 450_000


@pytest.mark.slow
def test_all_its_cells_run(tmp_path):
    for package in ("ipykernel", "nbclient"):
        pytest.importorskip(package)
    from tools import notebook

    small = "TRAIN, VAL, STEPS, WORK = 16, 4, 2, Path('work')"
    done = notebook.executed(tmp_path, small)  # what it compares, it compares itself
    assert "equal to the bit" in json.dumps(done.cells)
