"""Every verb that trains gives at 2 and at 3 ranks the run that one process does: the same rows,
the same completions, the same figures.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.cli.commands import (
    ALIGN,
    CONTROL_DQN,
    CONTROL_PPO,
    CONTROL_SAC,
    CONTROL_TABLE,
    DISTILL,
    GRPO,
    PPO,
    PREFER,
    PRETRAIN,
    REINFORCE,
    REST_EM,
    REWARD,
    TUNE,
    Cli,
    Models,
)  # fmt: skip
from tests.cli.together import together

from fledge.runs.folder import Run

# Two sources, though of one text: each has its own order.
MIXED = PRETRAIN.replace("data={text}", "data={text}:3,{text}:1 duplicates=keep")
STAGES = {
    "pretrain": f"{MIXED} rows_per_micro_batch=1",
    "tune": TUNE,
    "tune adapter": f"{TUNE} adapter=lora adapter_rank=2 adapter_dropout=0.2 optimizer=muon",
    "reward": REWARD,
    "prefer": PREFER,
    "prefer kto": f"{PREFER} algorithm=kto",
    "distill": DISTILL,
    "align ppo": PPO,
    "align reinforce": REINFORCE,
    "align grpo": GRPO.replace("prompts_per_step=8", "prompts_per_step=5"),
    "align rest_em": REST_EM,
    "align star": f"{ALIGN} algorithm=star threshold=0.99".replace("{letters}", "reverse"),
    "align dapo": f"{ALIGN} algorithm=dapo redraws=2",
    "control ppo": CONTROL_PPO,
    "control dqn": CONTROL_DQN,
    "control sac": CONTROL_SAC,
    "control q_learning": CONTROL_TABLE,
}


# The others are tried with `make slow`: one that reads, one that samples.
ORDINARY = ("pretrain", "align grpo")
# Before the first step all pairs are ties, which a rounding error decides.
TIES = {("prefer", 1, "pair_accuracy")}


def rows_of(run: Path, name: str = "metrics") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]


def check_figures(run: Path, alone: Path, rel: float, abs_: float, name: str = "") -> None:
    """Every figure of every row, but for those of TIES. name: of the stage."""
    rows, expected = rows_of(run), rows_of(alone)
    assert [set(row) for row in rows] == [set(row) for row in expected]
    for row, other in zip(rows, expected, strict=True):
        for figure, value in other.items():
            close = value is None or math.isclose(row[figure], value, rel_tol=rel, abs_tol=abs_)
            tie = (name, row["step"], figure) in TIES
            assert close or tie, (row["step"], figure, row[figure], value)


@pytest.mark.parametrize(
    "name",
    [name if name in ORDINARY else pytest.param(name, marks=pytest.mark.slow) for name in STAGES],
)
def test_a_run_of_several_ranks_is_the_run_of_one(
    name: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command = models.fill(STAGES[name])
    assert cli([*command, "out=alone"], folder=tmp_path).code == 0
    for world in (2, 3):
        ended = together([*command, f"out={world}"], world=world, folder=tmp_path)
        assert [done.code for done in ended] == [0] * world, [done.stderr for done in ended]
        assert [done.stdout for done in ended[1:]] == [""] * (world - 1)
        assert f"→ {world}" in ended[0].stdout
        check_figures(tmp_path / f"{world}", tmp_path / "alone", 1e-3, 1e-4, name)
        # as the report reads them, and as a resumed run looks for damage
        seconds = Run.open(tmp_path / f"{world}").timings.rows()
        assert seconds
        assert {len(row["waited"]) for row in seconds} == {world}
        assert sorted(each.name for each in tmp_path.iterdir() if "said" not in each.name) == [
            *map(str, range(2, world + 1)), "alone",
        ]  # fmt: skip


DIVIDED = {
    "pretrain": PRETRAIN,
    "tune": TUNE,
    "reward": REWARD,
    "prefer": PREFER,
    "distill": DISTILL,
    "tune adapter": f"{TUNE} adapter=lora adapter_rank=2",
    "align ppo": PPO,
    "align grpo": GRPO.replace("optimizer=muon", ""),
}


LAYOUTS = {
    (2, "pretrain"): "tensor_parallel=2 gradient_checkpointing=true",
    (4, "tune"): "shard=fsdp tensor_parallel=2 reshard_after_forward=false",
    (4, "prefer"): "shard=fsdp replicas=2",
}


@pytest.mark.slow
@pytest.mark.parametrize(("world", "name"), LAYOUTS)
def test_a_run_of_any_layout_is_the_run_of_one(
    world: int, name: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command = models.fill(DIVIDED[name])
    assert cli([*command, "out=alone"], folder=tmp_path).code == 0
    words = [*command, *LAYOUTS[world, name].split(), "out=parts"]
    ended = together(words, world=world, folder=tmp_path)
    assert [done.code for done in ended] == [0] * world, [done.stderr for done in ended]
    check_figures(tmp_path / "parts", tmp_path / "alone", 1e-3, 1e-4, name)
    weights = [
        load_file(tmp_path / run / "model" / "model.safetensors") for run in ("alone", "parts")
    ]
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-2, atol=1e-3)
    assert cli("resume parts", folder=tmp_path).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DIVIDED)
def test_a_run_whose_weights_are_divided_is_the_run_of_one(
    name: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    """It can be loaded as any other, and one process goes on from its checkpoints."""
    command = models.fill(DIVIDED[name])
    assert cli([*command, "out=alone"], folder=tmp_path).code == 0
    ended = together([*command, "shard=fsdp", "out=parts"], world=2, folder=tmp_path)
    assert [done.code for done in ended] == [0, 0], [done.stderr for done in ended]
    check_figures(tmp_path / "parts", tmp_path / "alone", 1e-3, 1e-4, name)
    kind = "adapter_model" if "adapter" in name else "model"
    files = [tmp_path / run / "model" / f"{kind}.safetensors" for run in ("alone", "parts")]
    weights = [load_file(file) for file in files]
    assert weights[0].keys() == weights[1].keys()
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=1e-2, atol=1e-3)
    files[1].unlink()
    done = cli("resume parts", folder=tmp_path)
    assert done.code == 0, done.stderr
    again = load_file(files[1])
    assert all(torch.equal(again[key], value) for key, value in weights[1].items())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (f"{TUNE} optimizer=muon", "optimizer=muon"),
        (f"{PRETRAIN} replicas=4", "replicas=4 and tensor_parallel=1 were given to 2 processes"),
        (PRETRAIN.replace("heads=2", "heads=1 tensor_parallel=2"), "a model with heads=1: it must"),
        (f"{PPO} critic=separate", "critic=separate"),
        (PRETRAIN.replace(" heads=2", " architecture=lstm"), "has no blocks"),
    ],
)
def test_what_cannot_be_divided_is_told(
    words: str, part: str, models: Models, tmp_path: Path
) -> None:
    command = [*models.fill(words), "shard=fsdp", "out=run"]
    ended = together(command, world=2, folder=tmp_path)
    assert part in ended[0].complaint
    assert ended[1].stderr == ""
    assert not (tmp_path / "run").exists()


def test_one_process_has_nothing_to_divide(cli: Cli, models: Models, tmp_path: Path) -> None:
    done = cli([*models.fill(PRETRAIN), "shard=fsdp", "out=run"], folder=tmp_path)
    assert "shard=fsdp divides a model over several processes, and there is one" in done.complaint
    done = cli([*models.fill(PRETRAIN), "replicas=2", "out=run"], folder=tmp_path)
    assert "replicas=2 was given without shard=fsdp" in done.complaint
