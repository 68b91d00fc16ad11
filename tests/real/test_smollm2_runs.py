"""SmolLM2 by the command line: exported for llama.cpp, tuned with an adapter, killed, resumed, and
aligned.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from fledge.hub.folder import Loaded, load_model
from tests.cli.commands import Cli, outcome
from tests.real.following import follow
from tests.real.llama_server import LlamaServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

ROWS = (
    ("What is the capital of France?", "Paris."),
    ("What is two plus two?", "Four."),
    ("Name a colour.", "Blue."),
    ("What do bees make?", "Honey."),
    ("Which animal says moo?", "The cow."),
    ("Is ice cold?", "Yes."),
    ("Who wrote Hamlet?", "Shakespeare."),
    ("What is H2O?", "Water."),
)
VOWELS = (
    "def prompts():\n"
    "    return ['Name an animal.', 'Name a town.', 'Name a fruit.', 'Say hello.']\n"
    "def score(prompt, completion):\n"
    "    return sum(c in 'aeiou' for c in completion) / max(1, len(completion))\n"
)
FP32 = "precision=fp32 compile=no save_every_s=0"


def read_metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# Eight-bit activations against eight-bit weights, and sixteen against sixteen.
@pytest.mark.parametrize(("weights", "nats"), [("f16", 0.1), ("q8_0", 0.3)])
def test_llama_cpp_answers_from_what_is_exported(
    weights: str, nats: float, file: Path, model: Loaded, cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    done = cli(f"export run={file} format=gguf weights={weights} out={out}", folder=tmp_path)
    assert done.code == 0, done.stderr
    server = LlamaServer(out)
    compared, ties = follow(model, server, 12, nats=nats)
    assert compared >= 120
    assert ties <= compared // 20
    text = "It's 12.5%, naïve 日本 <|im_end|>"
    assert server.encode(text) == model.tokenizer.encode(text)
    asked = [{"role": "user", "content": "Hello!"}]
    written = server("apply-template", messages=asked)["prompt"]
    assert written == LlamaServer(file)("apply-template", messages=asked)["prompt"]


def test_llama_cpp_answers_from_what_is_compressed(file: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli(f"compress base={file} method=int4 out=small", folder=tmp_path)
    assert done.code == 0, done.stderr
    model = load_model(tmp_path / "small")
    small = tmp_path / "small" / "model" / "model.gguf"
    assert small.stat().st_size < 0.94 * file.stat().st_size
    # Eight-bit activations against four-bit weights.
    compared, ties = follow(model, LlamaServer(small), 4, nats=0.5)
    assert compared >= 40
    assert ties <= compared // 10


def write_rows(path: Path) -> None:
    rows = "".join(json.dumps({"prompt": a, "completion": b}) + "\n" for a, b in ROWS)
    path.write_text(rows)


@pytest.mark.parametrize("weights", ["fp32", "nf4"])
def test_the_gradient_is_the_same_in_any_pieces(
    weights: str, file: Path, cli: Cli, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.jsonl")
    first = []
    for size in (1, 8):
        done = cli(
            f"tune base={file} data=rows.jsonl steps=1 rows_per_step=8 adapter=lora {FP32} "
            f"base_weights={weights} rows_per_micro_batch={size} out=pieces{size}",
            folder=tmp_path,
        )
        assert done.code == 0, done.stderr
        first.append(read_metrics(tmp_path / f"pieces{size}")[0])
    one, whole = first
    assert one["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-4)
    assert one["loss"] == pytest.approx(whole["loss"], rel=1e-5)
    assert whole["grad_norm"] > 0.01


def test_two_steps_with_an_adapter_learn_and_a_killed_run_ends_with_the_same_bits(
    file: Path, cli: Cli, tmp_path: Path
) -> None:
    write_rows(tmp_path / "rows.jsonl")
    tune = f"tune base={file} data=rows.jsonl steps=2 rows_per_step=8 adapter=lora {FP32}"
    whole = cli(f"{tune} out=whole", folder=tmp_path)
    assert whole.code == 0, whole.stderr
    first, second = (line["loss"] for line in read_metrics(tmp_path / "whole"))
    assert second < first
    killed = cli(
        f"{tune} out=killed", folder=tmp_path, signal=signal.SIGKILL,
        once=tmp_path / "killed" / "metrics.jsonl",
    )  # fmt: skip
    assert killed.code == -signal.SIGKILL, killed.stderr
    resumed = cli("resume run=killed", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    wanted = outcome(tmp_path / "whole")
    assert "model/adapter_model.safetensors" in wanted
    assert outcome(tmp_path / "killed") == wanted


def test_aligning_starts_at_its_reference(file: Path, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "vowels.py").write_text(VOWELS)
    done = cli(
        f"align base={file} task=vowels.py algorithm=grpo steps=1 prompts_per_step=2 "
        f"samples_per_prompt=2 max_new_tokens=8 evaluation_prompts=2 out=aligned {FP32}",
        folder=tmp_path,
    )
    assert done.code == 0, done.stderr
    lines = read_metrics(tmp_path / "aligned")
    [before] = [line["kl_exact"] for line in lines if line["step"] == 0]
    [step] = [line for line in lines if "drift" in line]
    assert before == step["kl_k1"] == step["kl_k3"] == 0.0
    assert step["drift"] < 1e-3  # nats between the engine and the trainer
    assert step["updates"] == 1
    assert step["grad_norm"] > 0
