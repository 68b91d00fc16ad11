"""Checkpoints: what is saved comes back exactly, and whatever happens to one takes no earlier one
with it.
"""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fledge.runs.checkpoint import CheckpointDamaged, Checkpoints, load_state, save_state


def same(a: Any, b: Any) -> bool:
    """Equal to the bit and of equal type, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and same(a.numpy(force=True), b.numpy(force=True))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (
            a == b and math.copysign(1, a) == math.copysign(1, b)
        )
    return a == b


def small(step: int) -> dict[str, Any]:
    return {"step": step, "weights": torch.arange(1000.0) + step}


@contextmanager
def tiny_disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(folder)]
    if (
        shutil.which("mount") is None
        or subprocess.run(command, capture_output=True, check=False).returncode != 0
    ):
        pytest.skip("mounting a small tmpfs is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize(
    "dtype",
    [
        torch.float64,
        torch.float32,
        torch.float16,
        torch.int64,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.complex64,
    ],
)
def test_tensors_of_every_type_come_back_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.randint(0, 2, (3, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    save_state(
        tmp_path, {"t": tensor, "view": tensor.T, "scalar": tensor[0, 0], "empty": tensor[:0]}
    )
    state = load_state(tmp_path)
    assert same(state["t"], tensor)
    assert same(state["view"], tensor.T.contiguous())
    assert state["scalar"].shape == ()
    assert same(state["empty"], tensor[:0])


def test_bfloat16_comes_back_exactly(tmp_path: Path) -> None:
    tensor = torch.tensor([1.0, -0.0, math.inf, math.nan, 3.0e38]).to(torch.bfloat16)
    save_state(tmp_path, {"t": tensor})
    assert same(load_state(tmp_path)["t"].view(torch.int16), tensor.view(torch.int16))


NUMBERS = st.integers() | st.floats() | st.booleans() | st.none() | st.text()
KEYS = st.integers() | st.text()
STATES = st.recursive(
    NUMBERS,
    lambda of: st.lists(of) | st.lists(of).map(tuple) | st.dictionaries(KEYS, of),
    max_leaves=20,
)


@given(state=st.dictionaries(KEYS, STATES))
def test_nests_of_numbers_and_text_come_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, state: dict
) -> None:
    folder = tmp_path_factory.mktemp("state")
    save_state(folder, state)
    assert same(load_state(folder), state)
    json.loads(
        (folder / "state.json").read_text(),
        parse_constant=lambda word: pytest.fail(f"{word} is not JSON"),
    )


def test_integers_of_any_size_come_back_exactly(tmp_path: Path) -> None:
    state = {"large": 10**5000, "negative": -(2**64), "edge": [2**53, 2**53 + 1, -(2**53) - 1]}
    save_state(tmp_path, state)
    assert load_state(tmp_path) == state


def test_generators_continue_as_if_they_had_never_stopped(tmp_path: Path) -> None:
    ours, numpys, pythons = (
        torch.Generator().manual_seed(5),
        np.random.Generator(np.random.Philox(5)),
        random.Random(5),
    )
    _ = torch.rand(3, generator=ours), numpys.random(3), pythons.random()
    state = {
        "torch": ours.get_state(),
        "numpy": numpys.bit_generator.state,
        "python": pythons.getstate(),
    }
    state["pcg"] = np.random.default_rng(5).bit_generator.state
    save_state(tmp_path, state)
    then = (
        torch.rand(8, generator=ours),
        numpys.random(8),
        pythons.random(),
        np.random.default_rng(5).random(8),
    )

    state = load_state(tmp_path)
    ours, pythons = torch.Generator(), random.Random()
    numpys, pcg = np.random.Generator(np.random.Philox()), np.random.default_rng()
    ours.set_state(state["torch"])
    numpys.bit_generator.state = state["numpy"]
    pythons.setstate(state["python"])
    pcg.bit_generator.state = state["pcg"]
    assert same(
        (torch.rand(8, generator=ours), numpys.random(8), pythons.random(), pcg.random(8)), then
    )


def test_an_optimizer_continues_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    def one_step(weights: torch.nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        weights.pow(3).sum().backward()
        optimizer.step()

    weights = torch.nn.Parameter(torch.linspace(1, 2, 7))
    optimizer = torch.optim.AdamW([weights], lr=0.1)
    one_step(weights, optimizer)
    state = {"weights": weights, "optimizer": optimizer.state_dict()}
    save_state(tmp_path, state)
    loaded = load_state(tmp_path)
    assert same(loaded["optimizer"], state["optimizer"])  # its keys are integers, its betas a tuple
    again = torch.nn.Parameter(loaded["weights"])
    restored = torch.optim.AdamW([again], lr=0.1)
    restored.load_state_dict(loaded["optimizer"])
    one_step(weights, optimizer)
    one_step(again, restored)
    assert torch.equal(weights, again)


def test_tied_weights_are_held_once_and_come_back_tied(tmp_path: Path) -> None:
    shared = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    state = {
        "embedding": shared,
        "head": {"weight": shared},
        "a row of it": shared[3],
        "flat": shared.view(-1),
    }
    save_state(tmp_path, state)
    state = load_state(tmp_path)
    assert state["embedding"] is state["head"]["weight"]
    assert same(state["a row of it"], shared[3])
    assert same(state["flat"], shared.view(-1))
    assert (tmp_path / "tensors.safetensors").stat().st_size < 2.2 * shared.nbytes


def test_loaded_tensors_outlive_the_file(tmp_path: Path) -> None:
    save_state(tmp_path / "a", small(1))
    state = load_state(tmp_path / "a")
    (tmp_path / "a" / "tensors.safetensors").write_bytes(b"")
    assert same(state["weights"], small(1)["weights"])


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, torch.zeros(2).to_sparse(), {True: 1}, {(1, 2): 1}]
)
def test_what_cannot_be_saved_is_named(tmp_path: Path, value: Any) -> None:
    with pytest.raises(TypeError, match=r"state\.a\.0"):
        save_state(tmp_path, {"a": [value]})


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["truncated", "emptied", "removed", "flipped"])
def test_a_damaged_file_is_noticed(tmp_path: Path, name: str, harm: str) -> None:
    save_state(tmp_path, small(1))
    content = bytearray((tmp_path / name).read_bytes())
    match harm:
        case "truncated":
            (tmp_path / name).write_bytes(
                content[:-1] if name != "manifest.json" else content[: len(content) // 2]
            )
        case "emptied":
            (tmp_path / name).write_bytes(b"")
        case "removed":
            (tmp_path / name).unlink()
        case "flipped":
            content[len(content) // 2] ^= 1
            (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointDamaged) as raised:
        load_state(tmp_path)
    if harm == "removed":
        assert str(raised.value) == f"{name} is missing"


def test_the_last_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=2)
    for step, score in enumerate([0.1, 0.9, 0.3, math.nan, None, 0.2]):
        checkpoints.save(step, small(step), score)
    assert checkpoints.steps() == [1, 4, 5]
    assert checkpoints.best() == 1
    assert sorted(os.listdir(tmp_path)) == ["00000001", "00000004", "00000005"]


def test_damaged_ones_are_passed_over_and_said(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=3)
    for step in (100, 200, 300):
        checkpoints.save(step, small(step))
    with (tmp_path / "00000300" / "tensors.safetensors").open("r+b") as file:
        file.truncate(100)
    heard: list[str] = []
    latest = checkpoints.latest(heard.append)
    assert latest is not None
    assert same(latest[1], small(200))
    assert len(heard) == 1
    assert heard[0].startswith(
        "checkpoint 00000300 is damaged (tensors.safetensors has 100 bytes, "
    )
    assert heard[0].endswith("): continuing from 00000200")


def test_a_damaged_future_does_not_push_out_the_whole_past(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep_last=1)
    checkpoints.save(300, small(300))
    (tmp_path / "00000300" / "state.json").unlink()
    checkpoints.save(250, small(250))
    latest = checkpoints.latest(lambda _: None)
    assert latest is not None
    assert latest[0] == 250


def test_nothing_whole_is_none_and_said(tmp_path: Path) -> None:
    heard: list[str] = []
    assert Checkpoints(tmp_path / "none").latest(heard.append) is None
    assert heard == []
    Checkpoints(tmp_path).save(1, small(1))
    (tmp_path / "00000001" / "state.json").unlink()
    assert Checkpoints(tmp_path).latest(heard.append) is None
    assert heard == [
        "checkpoint 00000001 is damaged (state.json is missing): there is no whole one before it"
    ]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, small(1))
    checkpoints.save(7, small(2))
    assert same(checkpoints.load(7), small(2))
    assert os.listdir(tmp_path) == ["00000007"]


def test_a_kill_between_the_two_renames_of_a_replacement_loses_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, small(1))
    (tmp_path / "00000007").rename(tmp_path / ".00000007.replaced")
    (tmp_path / ".00000007.partial").mkdir()
    assert checkpoints.steps() == [7]
    assert same(checkpoints.load(7), small(1))
    checkpoints.save(8, small(8))
    assert sorted(os.listdir(tmp_path)) == ["00000007", "00000008"]


def test_a_full_disk_leaves_the_earlier_ones_and_no_half_one(tmp_path: Path) -> None:
    with tiny_disk(tmp_path / "disk", kilobytes=1024) as disk:
        checkpoints = Checkpoints(disk / "checkpoints", keep_last=5)
        state = {"weights": torch.arange(100_000.0)}  # 400 kB: two fit, three do not
        checkpoints.save(1, state)
        checkpoints.save(2, state)
        with pytest.raises(OSError) as raised:
            checkpoints.save(3, state)
        assert raised.value.errno == errno.ENOSPC
        assert sorted(os.listdir(disk / "checkpoints")) == ["00000001", "00000002"]
        latest = checkpoints.latest(pytest.fail)
        assert latest is not None
        assert latest[0] == 2
        assert same(latest[1], state)


def test_a_folder_that_may_not_be_written_leaves_the_earlier_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(1, small(1))
    (tmp_path / "checkpoints").chmod(0o555)
    root = os.geteuid() == 0
    for parent in (tmp_path, *tmp_path.parents):
        if parent.is_relative_to(Path(tempfile.gettempdir())) and parent != Path(
            tempfile.gettempdir()
        ):
            parent.chmod(0o755)
    if root:
        os.seteuid(65534)  # the superuser may write anywhere, so be nobody for a moment
    try:
        with pytest.raises(PermissionError):
            checkpoints.save(2, small(2))
        assert checkpoints.steps() == [1]
        assert same(checkpoints.load(1), small(1))
    finally:
        if root:
            os.seteuid(0)
        (tmp_path / "checkpoints").chmod(0o755)


SAVER = """
import sys
from pathlib import Path
import torch
from fledge.runs.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]), keep_last=2)
latest = checkpoints.latest(lambda sentence: sys.exit(sentence))
step = latest[0] if latest else 0
while True:
    for again in range(2):  # the second replaces the first
        weights = torch.full((50_000,), float(step + 1))
        checkpoints.save(step + 1, {"step": step + 1, "weights": weights}, score=-step)
        print(step + 1, flush=True)
    step += 1
"""


def test_a_kill_at_any_moment_leaves_the_newest_finished_one(tmp_path: Path) -> None:
    moments = random.Random(0)
    finished = 0
    for _ in range(6):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert saver.stdout is not None
        first = saver.stdout.readline()
        time.sleep(moments.uniform(0, 0.15))
        saver.send_signal(signal.SIGKILL)
        said = [first, *saver.stdout.readlines()]
        saver.wait()
        finished = max([finished, *(int(line) for line in said if line.endswith("\n"))])
        latest = Checkpoints(tmp_path).latest(pytest.fail)  # a notice of damage fails
        assert latest is not None
        step, state = latest
        assert step in (finished, finished + 1)  # killed after the rename and before the print
        assert state["step"] == step
        assert torch.equal(state["weights"], torch.full((50_000,), float(step)))
        finished = step
