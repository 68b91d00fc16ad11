"""A model by its name: out of the hub's own cache, and one sentence without a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.hub.by_name import is_name
from fledge.hub.folder import find_model, save_model
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import transformer

CHARACTERS = train_tokenizer("characters", ["abcde"])
REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("owner/name", True), ("owner/name.v2@main", True), ("owner/name@refs/pr/1", True),
        ("name", False), ("a/b/c", False), ("./a", False), ("../a", False), ("there/no", False),
        ("/owner/name", False),
    ],
)  # fmt: skip
def test_what_may_be_a_name(
    path: str, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert is_name(Path(path)) == named


def fill_cache(home: Path) -> Path:
    """As huggingface_hub lays it out."""
    place = home / "hub" / "models--owner--name"
    snapshot = place / "snapshots" / REVISION
    save_model(snapshot, transformer(), CHARACTERS)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(REVISION)
    return snapshot


def ask(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    env |= {"PYTHONPATH": ":".join(sys.path), "HOME": str(home)}
    command = [sys.executable, "-m", "fledge", *words]
    return subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=home, check=False, timeout=120
    )


def test_out_of_the_cache_into_a_run(tmp_path: Path) -> None:
    snapshot = fill_cache(tmp_path)
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"prompt": p, "completion": c}) + "\n"
                for p in "abcde" for c in ("ab", "cd", "e"))
    )  # fmt: skip
    said = ask(
        tmp_path, "tune", "base=owner/name", "data=rows.jsonl", "steps=1", "rows_per_step=2",
        "out=run",
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    (parent,) = json.loads((tmp_path / "run" / "lineage.json").read_text())["parents"]
    assert (tmp_path / "run" / parent["path"]).resolve() == snapshot  # the revision is in its name
    assert parent["model_sha256"]
    named = ask(tmp_path, "sample", f"base=owner/name@{REVISION}", "prompt=ab", "max_new_tokens=2")
    assert named.returncode == 0, named.stderr


@pytest.mark.parametrize("name", ["a--b/c", "läufe/tune", "x/y.git", "-a/b", "a./b"])
def test_what_is_no_name_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        find_model(Path(name))


def test_what_is_not_in_the_cache_is_one_sentence(tmp_path: Path) -> None:
    said = ask(tmp_path, "sample", "base=owner/name@v1", "prompt=ab")
    assert said.returncode == 2
    assert "owner/name at revision v1" in said.stderr
    assert "Traceback" not in said.stderr
