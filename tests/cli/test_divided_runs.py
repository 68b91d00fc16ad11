"""A run whose weights lie in parts over ranks: killed, exported from its checkpoint, and gone on
with by one process.
"""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.cli.commands import GRPO, PRETRAIN, Cli, Models
from tests.cli.test_together import check_figures
from tests.cli.together import start_together, together
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from transformers import AutoModelForCausalLM

from fledge.runs.checkpoint import Checkpoints


def test_a_divided_run_is_killed_is_exported_and_goes_on_in_one_process(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    command = [*models.fill(PRETRAIN.replace("steps=12", "steps=24")), "save_every_s=0"]
    assert cli([*command, "out=alone"], folder=tmp_path).code == 0
    begun = start_together([*command, "shard=fsdp", "out=run"], world=2, folder=tmp_path)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    end = time.monotonic() + 300
    while not checkpoints.steps()[1:] and time.monotonic() < end:
        time.sleep(0.01)
    begun.kill(1)
    first = begun.wait(600)[0]
    assert first.code == 1
    assert "rank 1 has ended without a word" in first.stderr
    assert "Traceback" not in first.stderr
    newest = checkpoints.latest(pytest.fail)  # a notice of damage fails
    assert newest is not None
    assert newest[0] < 24
    assert not (tmp_path / "run" / "model").exists()

    done = cli("export run out=folder", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert f"checkpoint {newest[0]} of run as hf in f32" in done.stdout
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "folder").state_dict()
    embedding = model["model.embed_tokens.weight"]
    module = "state.algorithm.learner.module.network"
    saved = {f"{module}.embedding.weight": torch.zeros_like(embedding)}
    attention = [f"model.layers.0.self_attn.{each}_proj.weight" for each in "qkv"]
    fused = torch.cat([model[name] for name in attention])
    saved[f"{module}.blocks.0.attention.qkv.weight"] = torch.zeros_like(fused)
    folder = checkpoints.folder / f"{newest[0]:08d}"
    dcp_load(saved, storage_reader=HuggingFaceStorageReader(str(folder)))
    for own, theirs in zip(saved.values(), (embedding, fused), strict=True):
        assert torch.equal(own, theirs)
        assert own.abs().max() > 0

    done = cli("resume run", folder=tmp_path)
    assert done.code == 0, done.stderr
    check_figures(tmp_path / "run", tmp_path / "alone", 1e-3, 1e-4)
    done = cli("export alone/checkpoints/00000024 out=none", folder=tmp_path)
    assert "only those of a run with shard=fsdp can be exported" in done.complaint
    done = cli("export run/checkpoints/00000024 out=last", folder=tmp_path)
    assert done.code == 0, done.stderr
    last, kept = (load_file(tmp_path / at / "model.safetensors") for at in ("last", "run/model"))
    assert last.keys() == kept.keys()
    assert all(torch.equal(last[name], value) for name, value in kept.items())


def test_a_divided_policy_answers_with_whole_weights(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    command = models.fill(GRPO.replace("optimizer=muon", "").replace("steps=5", "steps=2"))
    assert cli([*command, "out=alone"], folder=tmp_path).code == 0
    ended = together([*command, "shard=fsdp", "out=parts"], world=2, folder=tmp_path)
    assert [done.code for done in ended] == [0, 0], [done.stderr for done in ended]
    check_figures(tmp_path / "parts", tmp_path / "alone", 1e-3, 1e-4)
