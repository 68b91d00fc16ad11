"""What the pages, the notebook and the examples show, runs."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from fledge.errors import UserError
from tests.cli.commands import process

ROOT = Path(__file__).resolve().parents[2]
READ_BY_VERIFY = ("good_baseline", "wrong_baseline")  # no scripts: `fledge verify` runs them
EXAMPLES = sorted(
    file.stem for file in (ROOT / "examples").glob("*.py") if file.stem not in READ_BY_VERIFY
)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python_blocks(page: str) -> list[str]:
    """The code of a page, block by block; a comment of the line number keeps tracebacks true."""
    blocks, inside = [], False
    for line in page.splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            blocks += [""] if inside else []
        elif inside:
            blocks[-1] += line + "\n"
    return blocks


def test_the_page_runs_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = python_blocks((ROOT / "docs/python.md").read_text(encoding="utf-8"))
    assert len(blocks) >= 7
    space: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), space)
    printed = capsys.readouterr().out
    assert "perhaps you meant `steps`" in printed
    assert "TrainedRun(pretrain, 30 steps, test bits per byte" in printed
    assert space["run"].config["clip_low"] == 1e-4


def test_the_page_of_inference_runs() -> None:
    blocks = python_blocks((ROOT / "docs/inference.md").read_text(encoding="utf-8"))
    space: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, "docs/inference.md", "exec"), space)
    assert space["mixture"].converged_


def test_the_notebook_runs_in_order() -> None:
    notebook = json.loads((ROOT / "docs/fledge.ipynb").read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    space: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells, start=1):
        assert cell["execution_count"] == number
        exec(compile("".join(cell["source"]), f"cell {number}", "exec"), space)
    shown = [output for cell in cells for output in cell["outputs"]]
    assert not any(output["output_type"] == "error" for output in shown)
    assert any("image/svg+xml" in output.get("data", {}) for output in shown)
    assert str(ROOT) not in json.dumps(notebook)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_runs(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = ROOT / "examples" / f"{name}.py"
    monkeypatch.setattr("sys.argv", [str(file)])  # without words, which are pytest's own here
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 40
    runpy.run_path(str(file), run_name="__main__")
    assert capsys.readouterr().out.strip()


def test_an_example_is_a_script(here: Path) -> None:
    file = ROOT / "examples" / "own_world.py"
    done = process(folder=here, module=(str(file),))
    assert done.code == 0, done.stderr
    assert "TrainedRun(control" in done.stdout


def test_a_script_without_a_guard_says_what_is_missing(here: Path) -> None:
    """A class is read out of its file, which must not start the training that asks for it."""
    source = (ROOT / "examples" / "own_algorithm.py").read_text(encoding="utf-8")
    head, _, body = source.partition('if __name__ == "__main__":')
    lines = [line.removeprefix("    ") for line in body.splitlines()[1:]]
    here.joinpath("mine.py").write_text(head + "\n".join(lines) + "\n")
    with pytest.raises(UserError, match="put what the file itself runs under"):
        runpy.run_path(str(here / "mine.py"), run_name="__main__")
