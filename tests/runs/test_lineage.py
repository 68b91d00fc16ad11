"""Lineage: what a run started from, by content, and how the runs hang together."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path

import pytest
import torch

from fledge.report.family_tree import draw_guides, find_ancestors, gather_family
from fledge.runs.folder import Run, find_runs
from fledge.runs.lineage import describe, every_file, model_hashes
from fledge.runs.provenance import find_changes
from fledge.text.documents import data_files


def make(folder: Path, *parents: Path) -> Run:
    run = Run.create(folder, "tune", {}, seed=0, parents=parents)
    run.model_folder.mkdir()
    (run.model_folder / "model.safetensors").write_bytes(str(folder).encode())
    return run


def test_parents_are_named_by_path_verb_and_the_hash_of_their_weights(tmp_path: Path) -> None:
    parent = make(tmp_path / "pretrain")
    child = make(tmp_path / "deep" / "tune", parent.folder)
    assert child.lineage["parents"] == [
        {
            "path": "../../pretrain",
            "verb": "tune",
            "model_sha256": hashlib.sha256(str(tmp_path / "pretrain").encode()).hexdigest(),
        }
    ]


def test_a_model_folder_given_as_parent_is_its_run(tmp_path: Path) -> None:
    parent = make(tmp_path / "pretrain")
    assert describe("tune", "", 0, [parent.model_folder], [])["parents"][0]["path"] == str(
        tmp_path / "pretrain"
    )


def test_a_best_agent_given_as_parent_is_its_run_by_the_weights_that_were_read(
    tmp_path: Path,
) -> None:
    parent = make(tmp_path / "control")
    best = parent.folder / "best"
    best.mkdir()
    for name in ("model.safetensors", "critic.safetensors", "agent.json"):
        (best / name).write_bytes(name.encode())
    lineage = describe("control", "", 0, [best], [])
    weights = hashlib.sha256(b"model.safetensors").hexdigest()
    assert lineage["parents"] == [
        {"path": str(parent.folder), "verb": "tune", "model_sha256": weights}
    ]
    assert lineage["inputs"] == [
        {
            "model": str(best),
            "files": {
                "model.safetensors": weights,
                "critic.safetensors": hashlib.sha256(b"critic.safetensors").hexdigest(),
                "agent.json": hashlib.sha256(b"agent.json").hexdigest(),
            },
        }
    ]
    best.rename(best.with_name(".best.replaced"))  # as a kill may leave it
    assert describe("control", "", 0, [best], [])["parents"] == lineage["parents"]


def test_a_bare_model_folder_is_a_parent_without_a_verb(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (parent,) = describe("tune", "", 0, [tmp_path], [])["parents"]
    assert parent == {
        "path": str(tmp_path),
        "verb": None,
        "model_sha256": hashlib.sha256(b"weights").hexdigest(),
    }


def test_data_files_are_hashed_each_in_folders_too(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.txt").write_bytes(b"one")
    (tmp_path / "b.txt").write_bytes(b"three")
    one = {
        "path": str(tmp_path / "deep" / "a.txt"),
        "bytes": 3,
        "sha256": hashlib.sha256(b"one").hexdigest(),
    }
    three = {
        "path": str(tmp_path / "b.txt"),
        "bytes": 5,
        "sha256": hashlib.sha256(b"three").hexdigest(),
    }
    assert describe("pretrain", "", 0, [], [tmp_path])["data"] == [three, one]
    assert describe("pretrain", "", 0, [], [f"{tmp_path / 'b.txt'},{tmp_path / 'deep'}"])[
        "data"
    ] == [three, one]


def test_the_embedded_prose_is_named_by_the_python_it_belongs_to() -> None:
    lineage = describe("pretrain", "fledge pretrain", 3, [], [], copied=["python"])
    assert lineage["data"] == [{"path": "python", "python": platform.python_version()}]
    assert lineage["torch"] == torch.__version__
    assert (lineage["seed"], lineage["command"]) == (3, "fledge pretrain")


def test_the_word_python_is_the_embedded_prose_of_a_corpus_whatever_lies_beside_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python").mkdir()
    (tmp_path / "python" / "a.txt").write_bytes(b"one")
    monkeypatch.chdir(tmp_path)
    prose = {"path": "python", "python": platform.python_version()}
    file = {"path": "python/a.txt", "bytes": 3, "sha256": hashlib.sha256(b"one").hexdigest()}
    for text, entries, files in (
        ("python", [prose], []),
        ("python, ./python", [prose, file], [Path("python/a.txt")]),
        ("./python", [file], [Path("python/a.txt")]),
    ):
        lineage = describe("pretrain", "", 0, [], [], copied=[text])
        assert lineage["data"] == entries
        assert list(data_files(text)) == files  # what the corpus reader reads beside the prose
        assert find_changes(tmp_path, lineage, every_file) == []
        for entry in lineage["data"]:
            entry |= {"python": "3.0"} if "python" in entry else {"sha256": "0" * 64}
        changes = find_changes(tmp_path, lineage, every_file)
        assert [change.path for change in changes] == [
            each.get("path") if "bytes" in each else "the prose of Python 3.0" for each in entries
        ]
        assert all(change.copied for change in changes)
    # Rows, tasks and worlds have no such word.
    assert describe("tune", "", 0, [], ["python/a.txt"])["data"] == [file]
    assert describe("tune", "", 0, [], ["python"])["data"] == [file]


def test_the_commit_is_there_inside_a_work_tree_and_absent_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "git_commit" not in describe("tune", "", 0, [], [])
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert describe("tune", "", 0, [], [])["git_commit"] == commit
    (tmp_path / "file").write_text("2")
    assert describe("tune", "", 0, [], [])["git_commit"] == f"{commit}-dirty"
    monkeypatch.setenv("PATH", "")
    assert "git_commit" not in describe("tune", "", 0, [], [])


def test_children_hang_under_the_parent_whose_weights_they_moved(tmp_path: Path) -> None:
    pretrain = make(tmp_path / "pretrain")
    tune = make(tmp_path / "tune", pretrain.folder)
    reward = make(tmp_path / "reward", tune.folder)
    make(tmp_path / "align", tune.folder, reward.folder)
    drawn = [
        guide + member.folder.name
        for guide, member in draw_guides(gather_family(find_runs(tmp_path)))
    ]
    assert drawn == ["pretrain", "└─ tune", "   ├─ align", "   └─ reward"]
    ((_, align),) = [
        pair
        for pair in draw_guides(gather_family(find_runs(tmp_path)))
        if pair[1].folder.name == "align"
    ]
    assert align.also == [tmp_path / "reward"]


def test_a_missing_parent_is_a_member_without_a_run(tmp_path: Path) -> None:
    make(tmp_path / "tune", tmp_path / "gone")
    (head,) = gather_family(find_runs(tmp_path))
    assert (head.folder, head.run) == (tmp_path / "gone", None)
    assert [child.folder.name for child in head.children] == ["tune"]


def test_ancestry_walks_up_through_every_parent_once(tmp_path: Path) -> None:
    pretrain = make(tmp_path / "pretrain")
    tune = make(tmp_path / "tune", pretrain.folder)
    reward = make(tmp_path / "reward", tune.folder, tmp_path / "gone")
    align = make(tmp_path / "align", tune.folder, reward.folder)
    make(tmp_path / "unrelated", tune.folder)
    names = [run.folder.name for run in find_ancestors(align)]
    assert sorted(names) == ["align", "pretrain", "reward", "tune"]


def test_of_a_model_in_several_files_every_one_is_hashed(tmp_path: Path) -> None:
    for name in ("model.safetensors.index.json", "config.json", "b.safetensors", "a.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "other.bin").write_bytes(b"none of its weights")
    names = ["model.safetensors.index.json", "config.json", "a.safetensors", "b.safetensors"]
    hashed = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    assert model_hashes(tmp_path) == hashed
    (tmp_path / "model.safetensors").write_bytes(b"one file")  # which then counts alone
    assert model_hashes(tmp_path).keys() == {"model.safetensors", "config.json"}
