"""A mixture of experts by real command lines: trained in each of its ways, killed and continued,
sampled, tuned, drawn, and opened by `transformers`.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.cli.commands import PRETRAIN, TUNE, Cli, Models, outcome

from fledge.hub.folder import load_model

MIXED = f"{PRETRAIN} experts=4"
CORRECTED = f"{MIXED} bias_rate=0.01 capacity=1.25 rows_per_micro_batch=3 save_every_s=0"


@torch.no_grad()
def open_elsewhere(run: Path) -> str:
    """What kind of model `transformers` takes the run's for, its logits being the same."""
    import transformers

    read: Any = transformers.AutoModelForCausalLM.from_pretrained
    theirs, said = read(run / "model", output_loading_info=True)
    assert not any(said[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    loaded = load_model(run)
    tokens = torch.randint(5, 200, (2, 40), generator=torch.Generator().manual_seed(0))
    ours = loaded.network(tokens) @ loaded.network.unembedding.T
    assert (theirs(tokens).logits - ours).abs().max() < 1e-4
    return type(theirs).__name__


def test_a_bias_goes_on_where_it_was(cli: Cli, models: Models, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    assert cli(models.fill(f"{CORRECTED} out=whole"), folder=tmp_path).code == 0
    log = tmp_path / "killed" / "metrics.jsonl"
    words = models.fill(f"{CORRECTED} out=killed")
    assert cli(words, folder=tmp_path, signal=signal.SIGKILL, once=log).code == -signal.SIGKILL
    assert cli("resume killed", folder=tmp_path).code == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    biases = load_model(tmp_path / "whole").network.state_dict()["blocks.0.mixture.bias"]
    steps = (biases / 0.01).round()  # each of 12 moved it by one rate or not at all
    torch.testing.assert_close(biases, 0.01 * steps, atol=1e-6, rtol=0)
    assert 0 < steps.abs().max() <= 12
    assert open_elsewhere(tmp_path / "whole") == "MiniMaxM2ForCausalLM"


def test_each_is_written_as_a_family_that_has_it(cli: Cli, models: Models, tmp_path: Path) -> None:
    pytest.importorskip("transformers")

    def call(words: str) -> str:
        done = cli(models.fill(words), folder=tmp_path)
        assert done.code == 0, done.stderr
        return done.stdout

    call(f"{MIXED} out=two")
    call(f"{MIXED} experts_per_token=1 out=one")
    kinds = [open_elsewhere(tmp_path / name) for name in ("two", "one")]
    assert kinds == ["MixtralForCausalLM", "Qwen3MoeForCausalLM"]
    rows = [json.loads(line) for line in (tmp_path / "two/metrics.jsonl").open()]
    loads = torch.tensor([row["expert_load"] for row in rows if "expert_load" in row])  # [12, 1, 4]
    assert loads.shape == (12, 1, 4)
    torch.testing.assert_close(loads.sum(-1), torch.ones(12, 1), atol=1e-3, rtol=0)
    assert all(row["balance"] >= 0.9 for row in rows if "balance" in row)
    call("report two")
    assert "Load of experts" in (tmp_path / "two/report.html").read_text()
    said = json.loads(call("sample base=two prompt=ab max_new_tokens=6 --json"))
    assert said["completions"][0]["tokens"] > 0
    call(TUNE.replace("{pretrain}", "two") + " out=tune")
    # and pre-training goes on from it, with experts of its own
    call("pretrain base=two data={text} steps=2 tokens_per_step=256 balance_loss=0.1 out=more")


def test_what_does_not_fit_together(cli: Cli, models: Models, tmp_path: Path) -> None:
    for words, sentence in {
        f"{PRETRAIN} capacity=1.5": "capacity: of a mixture of experts: give experts=8 too",
        f"{MIXED} experts_per_token=5": "experts_per_token=5 of experts=4",
        f"{MIXED} bias_rate=0.1 experts_per_token=1": "no gradient reaches the router",
        f"{MIXED.replace(' heads=2', '')} architecture=lstm": "stand in a transformer's layers",
        "pretrain base={pretrain} data={text} balance_loss=1": "the base has no experts",
        "compare data={text} models=lstm experts=4": "of moe, which models=lstm does not name",
    }.items():
        done = cli(models.fill(words), folder=tmp_path)
        assert (done.code, sentence in done.stderr) == (2, True), (words, done.stderr)
    assert not list(tmp_path.iterdir())
