"""The notebooks run from top to bottom in a kernel of their own, and were saved so."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
every_notebook = pytest.mark.parametrize(
    "path", sorted((ROOT / "reports" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)


@every_notebook
def test_it_was_saved_as_it_ran(path):
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"stream", "display_data", "execute_result"}
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert path.stat().st_size < 1.5e6


@every_notebook
def test_it_runs(path, tmp_path):
    """Its assertions are part of it. The file stays as it is."""
    command = shutil.which("jupyter-execute", path=str(Path(sys.executable).parent))
    assert command, "nbclient is not installed beside this Python"
    folders = {name: str(tmp_path) for name in ("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR")}
    ran = tmp_path / path.name
    done = subprocess.run(
        [command, "--timeout=600", f"--output={ran}", str(path)],
        env=os.environ | folders, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def shown(path):
    """What each code cell shows: kinds of output, cards and bars among them."""
    marks = {"mixtures-result": "cards", "<td style": "bar"}
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    found = []
    for cell in cells:
        kinds = []
        for output in cell["outputs"]:
            text = "".join(output.get("data", {}).get("text/html", ""))
            marked = [words for mark, words in marks.items() if mark in text]
            kinds.append((output["output_type"], *sorted(output.get("data", {})), *marked))
        found.append(kinds)
    return found


def test_a_comparison_shows_its_bar_its_cards_and_its_plots():
    cells = shown(ROOT / "reports" / "notebooks" / "em-and-vb-from-scratch.ipynb")
    assert [
        ("display_data", "text/html", "text/plain", "bar"),
        ("execute_result", "text/html", "text/plain", "cards"),
    ] in cells
    assert [("execute_result", "image/png", "text/plain")] in cells


def test_two_methods_by_hand_stand_beside_a_sampler():
    cells = shown(ROOT / "reports" / "notebooks" / "hidden-markov-models-from-scratch.ipynb")
    assert [("execute_result", "text/html", "text/plain", "cards")] in cells
    assert [("execute_result", "image/png", "text/plain")] in cells
