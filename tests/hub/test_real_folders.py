"""The road of a model that somebody else made, by the command line: a sharded folder is tuned, what
comes out is sampled, and `transformers` reads it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.hub.folder import load_model
from tests.hub.foreign import CHARACTERS, load, make, rows
from tests.hub.test_every_family import logits

pytest.importorskip("transformers")


def fledge(*words: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "fledge", *words]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "options"),
    [("mixtral", {"num_local_experts": 3}), ("gpt2", {}), ("gemma2", {"sliding_window": 5})],
)
@torch.no_grad()
def test_a_sharded_folder_is_tuned_and_goes_back(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    make(family, options).save_pretrained(base, max_shard_size=9000)
    CHARACTERS.save(base)
    data = tmp_path / "rows.jsonl"
    answers = [{"prompt": "abc"[: 1 + n % 3], "completion": "de" * (1 + n % 2)} for n in range(30)]
    data.write_text("\n".join(map(json.dumps, answers)))
    fledge("tune", f"base={base}", f"data={data}", "steps=3", f"out={run}")
    assert len(fledge("sample", f"base={run}", "prompt=abc").splitlines()) >= 1
    before, after = (load_model(folder).network for folder in (base, run))
    assert (logits(before, rows(9)) - logits(after, rows(9))).abs().max() > 1e-4  # it has learned
    theirs, _ = load(run / "model")
    assert theirs.config.model_type == family
    assert (theirs(rows(9)).logits - logits(after, rows(9))).abs().max() < 1e-4
    [parent] = [one for one in json.loads((run / "lineage.json").read_text())["inputs"]
                if "model" in one]  # fmt: skip
    shards = {file.name for file in base.glob("model-*.safetensors")}
    assert shards
    assert shards < parent["files"].keys()
