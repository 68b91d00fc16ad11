"""Checkpoints that several ranks write, each its part: read again by any number of ranks, by one
process and by torch's own reader; and what is left when a save does not come to its end.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tests.every_rank import on_ranks
from torch import distributed
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load

from fledge import ranks
from fledge.runs.checkpoint import CheckpointDamaged, Checkpoints, load_state
from fledge.runs.saving import Saving
from fledge.saved_tensor import SavedTensor
from fledge.sharded import cut_like

SHAPES = {"large": (7, 3), "few rows": (2, 4), "vector": (5,)}  # at 3 ranks some hold nothing


def whole(name: str, step: int) -> torch.Tensor:
    shape = SHAPES[name]
    return torch.arange(float(torch.Size(shape).numel())).view(shape).double() / 7 + step


def divide(step: int) -> dict[str, Any]:
    """What a run has: tensors of which this rank holds a part, others that are whole, numbers."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (ranks.world(),))
    parts = {name: distribute_tensor(whole(name, step), mesh, [Shard(0)]) for name in SHAPES}
    return {"parts": parts, "own": torch.full((3,), float(step)), "step": step, "nest": [(1, None)]}


def check_whole(state: dict[str, Any], step: int) -> None:
    assert state["step"] == step
    assert state["nest"] == [(1, None)]
    assert torch.equal(state["own"], torch.full((3,), float(step)))
    for name in SHAPES:
        saved = state["parts"][name]
        assert isinstance(saved, SavedTensor)
        assert torch.equal(saved.read(), whole(name, step))


def save_four(folder: Path) -> None:
    """Four checkpoints, of which the second is the best; the state changes as soon as `save` has
    come back.
    """
    with Saving(Checkpoints(folder, keep_last=2)) as saving:
        for step, score in ((1, 0.1), (2, 0.9), (3, 0.2), (4, None)):
            state = divide(step)
            saving.save(step, state, score)
            for part in state["parts"].values():
                part.to_local().zero_()
            state["own"].zero_()
    distributed.barrier()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """checkpoints/ of a run of 3 ranks."""
    above = tmp_path_factory.mktemp("saved")
    on_ranks(3, lambda: save_four(above / "checkpoints"), above / "ranks")
    return above / "checkpoints"


def test_what_three_ranks_save_is_read_by_one_process_by_two_and_by_torch(
    saved: Path, tmp_path: Path
) -> None:
    checkpoints = Checkpoints(saved)
    assert checkpoints.steps() == [2, 3, 4]  # the last two, and the best
    assert checkpoints.best() == 2
    for step in (2, 3, 4):
        check_whole(checkpoints.load(step), step)

    def take_part() -> bool:
        state, like = checkpoints.load(4), divide(0)["parts"]
        mine = {name: cut_like(state["parts"][name], part) for name, part in like.items()}
        wanted = divide(4)["parts"]
        return all(torch.equal(mine[n].to_local(), wanted[n].to_local()) for n in SHAPES)  # pyright: ignore[reportAttributeAccessIssue]

    assert on_ranks(2, take_part, tmp_path / "two") == [True, True]
    # torch's reader takes a file that is not divided for one that is, too
    theirs = {f"state.parts.{name}": torch.zeros_like(whole(name, 4)) for name in SHAPES}
    dcp_load(theirs, storage_reader=HuggingFaceStorageReader(str(saved / "00000004")))
    for name in SHAPES:
        assert torch.equal(theirs[f"state.parts.{name}"], whole(name, 4))


def test_every_file_is_safetensors_or_json(saved: Path) -> None:
    files = [path for path in saved.rglob("*") if path.is_file()]
    assert {file.name for file in files if file.parent.name == "00000004"} == {
        "manifest.json", "state.json", "tensors.safetensors",
        *(f"shard-0000{n}-of-00003.safetensors" for n in (1, 2, 3)),
    }  # fmt: skip
    for file in files:
        if file.suffix == ".json":
            json.loads(file.read_bytes())
        else:
            assert file.suffix == ".safetensors"
            with safe_open(file, "pt") as opened:
                held = sum(
                    opened.get_tensor(name).nbytes
                    for name in opened.keys()  # noqa: SIM118
                )
            size = int.from_bytes(file.read_bytes()[:8], "little")
            assert file.stat().st_size == 8 + size + held  # nothing behind the tensors


@pytest.mark.parametrize("harm", ["lost", "short", "changed", "left out"])
def test_a_shard_that_is_not_whole_is_passed_over_for_the_checkpoint_before(
    harm: str, saved: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "checkpoints"))
    shard = copy / "00000004" / "shard-00002-of-00003.safetensors"
    content = shard.read_bytes()
    if harm == "lost":
        shard.unlink()
    elif harm == "short":
        shard.write_bytes(content[:-8])
    elif harm == "changed":
        shard.write_bytes(content[:-8] + bytes(8))
    else:  # with its name in the manifest, as a writer would that forgets a rank
        shard.unlink()
        manifest = json.loads((shard.parent / "manifest.json").read_text())
        del manifest["files"][shard.name]
        (shard.parent / "manifest.json").write_text(json.dumps(manifest))
    said: list[str] = []
    newest = Checkpoints(copy).latest(said.append)
    assert newest is not None
    assert newest[0] == 3
    check_whole(newest[1], 3)
    (sentence,) = said
    assert sentence.startswith("checkpoint 00000004 is damaged (")
    assert sentence.endswith("continuing from 00000003")
    with pytest.raises(CheckpointDamaged):
        load_state(copy / "00000004")


SAVER = """
import sys, time, torch
from pathlib import Path
from fledge.runs.checkpoint import Checkpoints
from fledge.runs.saving import Saving
state = {"w": torch.zeros(3_000_000), "step": 0}
with Saving(Checkpoints(Path(sys.argv[1]))) as saving:
    for step in range(1, 1000):
        state["w"].fill_(step)
        state["step"] = step
        saving.save(step, state)
        state["w"].fill_(-1.0)
        print(step, flush=True)
"""


def test_a_kill_while_a_thread_writes_leaves_the_checkpoint_before_whole(tmp_path: Path) -> None:
    saver = subprocess.Popen(
        [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert saver.stdout is not None
    begun = [int(saver.stdout.readline()) for _ in range(2)][-1]
    partial = tmp_path / f".{begun:08d}.partial"
    while not (partial / "tensors.safetensors").exists():
        assert saver.poll() is None
        time.sleep(0.001)
        if not partial.exists():  # the next one
            begun = max(begun, *(Checkpoints(tmp_path).steps() or [begun])) + 1
            partial = tmp_path / f".{begun:08d}.partial"
    os.kill(saver.pid, signal.SIGKILL)
    saver.wait()
    newest = Checkpoints(tmp_path).latest(pytest.fail)  # a notice of damage fails
    assert newest is not None
    step, state = newest
    assert state["step"] == step
    assert bool((state["w"] == step).all())


def test_a_run_that_ends_by_a_mistake_has_what_it_was_saving(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)

    def end_badly() -> None:
        with Saving(checkpoints) as saving:
            saving.save(1, {"w": torch.ones(3)})
            raise RuntimeError("a mistake")

    with pytest.raises(RuntimeError, match="a mistake"):
        end_badly()
    assert torch.equal(checkpoints.load(1)["w"], torch.ones(3))


def test_an_error_in_the_thread_is_raised_where_training_goes_on(tmp_path: Path) -> None:
    """A file may have no more than 1,000 bytes, so that the tensors do not go in."""
    checkpoints = Checkpoints(tmp_path)
    with Saving(checkpoints) as saving:
        saving.save(1, {"w": torch.ones(3)})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    saving = Saving(checkpoints)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        saving.save(2, {"w": torch.ones(3000)})
        with pytest.raises(OSError, match="File too large"):
            saving.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saving.check()  # it is said once
    assert checkpoints.steps() == [1]
    assert [each.name for each in tmp_path.iterdir()] == ["00000001"]


def test_the_last_checkpoint_is_whole_at_once_and_takes_no_copy(tmp_path: Path) -> None:
    """A copy is for what changes while it is written; behind the last one nothing does."""
    weights = torch.randn(2**20)
    with Saving(Checkpoints(tmp_path, keep_last=2)) as saving:
        saving.save(1, {"weights": weights})
        copies: dict[str, torch.Tensor] = vars(saving)["_copy"]
        held = sum(copy.numel() for copy in copies.values())
        saving.save(2, {"weights": weights + 1}, last=True)
        assert held == weights.numel()
        assert not vars(saving)["_copy"]
        assert torch.equal(load_state(tmp_path / "00000002")["weights"], weights + 1)
