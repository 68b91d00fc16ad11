"""A family in a file of the user's: its models are read, trained, and read again from their runs
by processes that were told nothing of it.
"""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
from tests.cli.commands import Cli, outcome
from tests.hub.arcee import ARCEE, SquaredTransformer

import fledge
import fledge.hub.families as families
from fledge.errors import UserError
from fledge.hub.folder import save_model
from fledge.models.language.transformer import TransformerConfig
from fledge.text.tokenizer import train_tokenizer

SOURCE = Path(__file__).parents[1] / "hub" / "arcee.py"
REGISTERS = "\nfrom fledge.hub.families import register_family\nregister_family(ARCEE)\n"
TUNE = "tune data=rows.jsonl steps=4 rows_per_step=4 precision=fp32 compile=no save_every_s=0"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of a family that fledge does not know, and the file that does."""
    monkeypatch.setattr(families, "_known", dict(families._known))
    families.register_family(ARCEE)
    tokenizer = train_tokenizer("bytes", [])
    sizes = TransformerConfig(
        tokenizer.vocab_size, context=64, layers=1, width=16, heads=2, kv_heads=2, gated=False
    )
    save_model(tmp_path / "base", SquaredTransformer(sizes, tokenizer.border), tokenizer)
    (tmp_path / "mine.py").write_text(SOURCE.read_text() + REGISTERS)
    rows = [{"prompt": f"say {i}", "completion": f"{i}"} for i in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_file_of_ones_own_is_said_once(cli: Cli, place: Path) -> None:
    said = cli(f"{TUNE} base=base", folder=place).complaint
    assert "give family=FILE.py" in said
    whole = cli(f"{TUNE} base=base family=mine.py out=whole", folder=place)
    assert whole.code == 0, whole.stderr
    lineage = json.loads((place / "whole" / "lineage.json").read_text())
    assert any(entry["path"].endswith("mine.py") for entry in lineage["data"])
    killed = cli(
        f"{TUNE} base=base family=mine.py out=killed", folder=place, signal=signal.SIGKILL,
        once=place / "killed" / "metrics.jsonl",
    )  # fmt: skip
    assert killed.code in (0, -signal.SIGKILL)
    assert cli("resume killed", folder=place).code == 0
    assert outcome(place / "killed") == outcome(place / "whole")
    for words in ("sample whole max_new_tokens=2 prompt=hi", "export whole out=other"):
        assert cli(words, folder=place).code == 0
    assert cli("sample other max_new_tokens=2 prompt=a family=mine.py", folder=place).code == 0
    for what in ("attention", "rope", "sampling"):
        shown = cli(f"show {what} base=other family=mine.py out={what}.html", folder=place)
        assert shown.code == 0, shown.stderr
    again = cli(f"{TUNE} base=whole out=again adapter=lora", folder=place)
    assert again.code == 0, again.stderr
    assert cli("sample again max_new_tokens=2 prompt=hi", folder=place).code == 0
    shutil.move(place / "mine.py", place / "elsewhere.py")
    said = cli("sample whole max_new_tokens=2 prompt=hi", folder=place).complaint
    assert said.endswith("is gone: put it back.")


def test_python_is_told_the_file_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {name: each for name, each in families._known.items() if each is not ARCEE}
    monkeypatch.setattr(families, "_known", known)
    with pytest.raises(UserError, match=r"give family=FILE\.py"):
        fledge.load(place / "base")
    model = fledge.load(place / "base", family=place / "mine.py")
    assert isinstance(model.generate("a", max_new_tokens=2), str)


def test_a_file_that_registers_nothing_is_one_sentence(cli: Cli, place: Path) -> None:
    (place / "mine.py").write_text("x = 1\n")
    said = cli("sample base prompt=a family=mine.py", folder=place).complaint
    assert said.startswith("mine.py registers no family")
    said = cli("sample base prompt=a family=nowhere.py", folder=place).complaint
    assert said.startswith("there is no file nowhere.py")
