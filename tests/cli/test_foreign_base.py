"""A model that somebody else made is tuned, sampled from and aligned with its own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.cli.commands import process
from tests.text.foreign_kinds import PROSE, byte_level, write
from tests.text.template_styles import CHATML
from tokenizers import AddedToken

from fledge.text.tokenizer import load_tokenizer

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Llama of `transformers` with thirteen more rows than its tokenizer has tokens."""
    folder = tmp_path_factory.mktemp("work")
    made = byte_level(("<|endoftext|>",))
    made.add_special_tokens(
        [AddedToken(word, normalized=False, special=True) for word in CHATML.special]
    )
    base = write(folder / "base", made, CHATML.template, eos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=made.get_vocab_size() + 13, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=128,
        bos_token_id=None, eos_token_id=0,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(base)
    talks = [
        {"messages": [{"role": "user", "content": f"what is {i}? <|im_end|>"},
                      {"role": "assistant", "content": "it is small"}]}
        for i in range(40)
    ]  # fmt: skip
    (folder / "talks.jsonl").write_text("\n".join(map(json.dumps, talks)))
    (folder / "prose.txt").write_text("".join(PROSE), newline="")
    return folder


@pytest.mark.slow
def test_the_road_from_a_stranger_s_model(folder: Path) -> None:
    tuned = process(
        "tune", "base=base", "data=talks.jsonl", "steps=60", "learning_rate=1e-2",
        "rows_per_step=8", "out=runs/tune", folder=folder,
    )  # fmt: skip
    assert tuned.code == 0, tuned.stderr
    model = folder / "runs" / "tune" / "model"
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (model / name).read_bytes() == (folder / "base" / name).read_bytes()
    said = process(
        "sample", "base=runs/tune", "prompt=what is 77? <|im_end|>", "temperature=0",
        "max_new_tokens=40", "--json", folder=folder,
    )  # fmt: skip
    [one] = json.loads(said.stdout)["completions"]
    assert (one["completion"], one["ended"]) == ("it is small", "stop")
    # The same folder says the same in transformers, which stops at the turn's end by its config.
    theirs = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForCausalLM.from_pretrained(model)
    assert network.config.eos_token_id == [0, theirs.convert_tokens_to_ids("<|im_end|>")]
    ids, _ = load_tokenizer(model).render(
        [{"role": "user", "content": "what is 77? <|im_end|>"}], reply=True
    )
    prompt = torch.tensor([ids])
    row = network.generate(prompt, max_new_tokens=40, do_sample=False)[0, prompt.shape[1] :]
    assert theirs.decode(row, skip_special_tokens=True) == "it is small"
    aligned = process(
        "align", "base=runs/tune", "task=reverse", "algorithm=grpo", "steps=1",
        "prompts_per_step=2", "samples_per_prompt=2", "max_new_tokens=8", folder=folder,
    )  # fmt: skip
    assert aligned.code == 0, aligned.stderr


@pytest.mark.slow
def test_its_tokenizer_serves_a_model_of_one_s_own(folder: Path) -> None:
    made = process(
        "pretrain", "data=prose.txt", "tokenizer=base", "steps=2", "layers=1", "width=32",
        "heads=2", "context=64", "tokens_per_step=512", "out=runs/own", folder=folder,
    )  # fmt: skip
    assert made.code == 0, made.stderr
    held = process("evaluate", "base=runs/own", "data=prose.txt", "--json", folder=folder)
    whole = json.loads(held.stdout)
    assert whole["bytes"] > 100
    shown = process("tokenizer", "show", "base", "text=a <|im_end|>", "--json", folder=folder)
    assert "".join(each["piece"] for each in json.loads(shown.stdout)["tokens"]) == "a <|im_end|>"
    kept = process("tokenizer", "train", "data=prose.txt", "out=base", folder=folder)
    assert kept.code == 2
    assert "holds model.safetensors" in kept.stderr
    (folder / "alone").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / "alone" / name).write_bytes((folder / "base" / name).read_bytes())
    kept = process("tokenizer", "train", "data=prose.txt", "out=alone", folder=folder)
    assert "has not written" in kept.stderr
