"""`import fledge`: light, every name there when it is asked for, every verb with its fields."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import fledge
from fledge.cli.verbs import VERBS
from tests.cli.commands import environment

PACKAGE = Path(fledge.__file__).parent
ROOMS = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    )
    return done.stdout


def test_import_is_light() -> None:
    said = run(
        "import sys, time; before = set(sys.modules); began = time.process_time()\n"
        "import fledge\n"
        "print(time.process_time() - began, *(set(sys.modules) - before))"
    )
    seconds, *loaded = said.split()
    assert float(seconds) < 0.1
    assert not {"torch", "pydantic", "numpy", "gymnasium", "rich"} & set(loaded)


def test_every_name_loads() -> None:
    assert "__version__" in dir(fledge)
    for name in dir(fledge):
        assert getattr(fledge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'algin'"):
        fledge.algin  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_the_stub_that_editors_read_has_every_name() -> None:
    stub = ast.parse(PACKAGE.joinpath("__init__.pyi").read_text(encoding="utf-8"))
    imported = (
        alias for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names
    )
    assert {*(alias.asname for alias in imported), "__version__"} == set(dir(fledge))
    assert (PACKAGE / "py.typed").is_file()


def test_every_verb_is_a_function() -> None:
    other = {"tokenizer train": "train_tokenizer", "tokenizer show": "show_tokenizer"}
    wanted = {other.get(name, name.replace(" ", "_")) for name in VERBS if name != "completion"}
    assert wanted <= set(dir(fledge))
    assert all(callable(getattr(fledge, name)) for name in wanted)


def test_a_verb_names_its_fields() -> None:
    named = inspect.signature(fledge.align).parameters
    assert {"base", "prompts", "reward", "kl_coefficient", "steps", "verbose"} <= named.keys()
    assert named["prompts_per_step"].default == 64


@pytest.mark.parametrize("first", ["", "import fledge.sample.rollouts; "])
def test_a_room_that_bears_a_verb_s_name_is_both(first: str) -> None:
    """Whether Python has come upon the room or not."""
    said = run(
        f"import fledge; {first}print(callable(fledge.sample), callable(fledge.verify))\n"
        "from fledge.sample import rollouts; import fledge.verify.rows as rows\n"
        "print(callable(fledge.sample), fledge.verify.rows is rows)\n"
        "try:\n    fledge.evaluate(base='nowhere', task='reverse')\n"
        "except fledge.UserError as error:\n    print(error)"
    )
    assert said.splitlines()[:2] == ["True True", "True True"]
    assert "nowhere does not exist" in said


def test_rooms_and_verbs_share_no_other_name() -> None:
    shared = ROOMS & {name for name in VERBS if " " not in name}
    assert shared == {"evaluate", "plan", "report", "runs", "sample", "scale", "serve", "verify"}
