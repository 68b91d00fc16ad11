"""`fledge plan` from the command line: its figures, its sentences, and that the table in the
documents is what it writes today.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import Cli

ROOT = Path(__file__).resolve().parents[2]
LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
    "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": False,
}  # fmt: skip


def test_a_plan_adds_up_and_needs_a_config_alone(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    (tmp_path / "llama" / "config.json").write_text(json.dumps(LLAMA))
    given = "gpus=8 tokens_per_step=262144 context=8192"
    done = cli(f"plan 8b {given} --json", folder=tmp_path)
    assert done.code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["parameters"] == 8_030_261_248
    layout = told["layout"]
    assert layout["replicas"] * layout["shards"] * layout["tensor"] == 8
    most = max(sum(phase.values()) for phase in told["phases"].values())
    assert told["bytes"] == pytest.approx(1.05 * most + 1.5e9)
    assert told["bytes"] < 80e9
    assert told["tokens_per_second"] * told["seconds"] == pytest.approx(262144)
    assert 0 < told["utilisation"] < 0.6
    assert 1 < told["fewest_gpus"] <= 8
    same = cli(f"plan model=llama {given} --json", folder=tmp_path)
    assert json.loads(same.stdout) == {**told, "model": "llama"}
    shown = cli(f"plan 1b {given} shard=fsdp tensor_parallel=1 slots=8", folder=tmp_path)
    assert shown.code == 0, shown.stderr
    for words in ("MFU", "all-gather", "engine and", "fewest GPUs", "shard=fsdp"):
        assert words in shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("plan 8b gpus=0", "gpus=0 cannot be"),
        ("plan 8b card=h10", "card=h10 is none of a10, rtx4090"),
        ("plan 9b", "model=9b is neither a folder with a config.json nor one of 1b, 8b"),
        ("plan 8b gpus=1", "no layout of gpus=1 fits model=8b into 80 GB each: the nearest"),
        ("plan 8b gpus=8 tensor_parallel=3", "tensor_parallel=3 do not divide gpus=8"),
        ("plan nano context=4096", "context=4096 is more than the 128 tokens"),
        ("plan 8b shard=fsdp tensor_parallel=1 tokens_per_step=8192", "divided among 8 ranks"),
        ("plan 8b optimizer=muon shard=fsdp", "optimizer=muon steps whole matrices"),
        ("plan chekc", "model=chekc is neither"),
    ],
)
def test_what_cannot_be_planned_is_said(words: str, said: str, cli: Cli, tmp_path: Path) -> None:
    done = cli(words, folder=tmp_path)
    assert done.code == 2
    assert said in done.complaint


def test_the_table_in_the_documents_is_todays(cli: Cli, tmp_path: Path) -> None:
    done = cli("plan table", folder=tmp_path)
    assert done.code == 0, done.stderr
    page = (ROOT / "docs" / "scale.md").read_text()
    assert done.stdout.strip() in page, "write the output of `fledge plan table` there"


@pytest.mark.slow
def test_plans_hold_on_this_machine(cli: Cli, tmp_path: Path) -> None:
    done = cli("plan check model=tiny counted=nano --json", folder=tmp_path)
    told = json.loads(done.stdout)
    assert done.code == 0, told
    assert [each["ranks"] for each in told["counted"]] == [8, 64]
    assert all(each["seconds_predicted"] > 0 for each in told["measured"])
