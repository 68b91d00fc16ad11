"""A model in Python says what the command line says, and its numbers are those of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, LlamaForCausalLM

import fledge
from tests.cli.commands import Cli, Models


@pytest.fixture
def model(models: Models) -> fledge.Model:
    return fledge.load(models.folder / "tune")


def test_generate_is_sample(cli: Cli, models: Models, model: fledge.Model, tmp_path: Path) -> None:
    words = f"sample {models.folder}/tune prompt=cat seed=3 max_new_tokens=9 --json"
    said = cli([*words.split(), "samples=3"], folder=tmp_path).result["completions"]
    texts = model.generate("cat", samples=3, seed=3, max_new_tokens=9)
    assert texts == [each["completion"] for each in said]
    assert model.generate("cat", seed=3, max_new_tokens=9) == texts[0]
    several = model.generate(["cat", "mat"], samples=3, seed=3, max_new_tokens=9)
    assert several[0] == texts
    assert len(several[1]) == 3
    # a prompt that is asked twice is answered by other draws, as one that is sampled twice
    assert model.generate(["cat", "cat", "cat"], seed=3, max_new_tokens=9) == texts
    assert fledge.sample(model, "cat", seed=3, max_new_tokens=9, samples=3)["completions"] == said


def test_rules_hold(model: fledge.Model) -> None:
    assert model.generate("cat", choices=["yes", "no"], seed=1) in ("yes", "no")
    assert model.generate(["a", "b"], regex="[ab]{4}")[1].strip("ab") == ""
    greedy = [model.generate("cat", temperature=0, max_new_tokens=6) for _ in range(2)]
    assert greedy[0] == greedy[1]
    best = model.generate("cat", beams=3, samples=2, max_new_tokens=4)
    assert len(best) == 2


def test_chat_is_chat(cli: Cli, models: Models, model: fledge.Model, tmp_path: Path) -> None:
    told = cli(
        f"chat {models.folder}/tune max_new_tokens=9 --json", folder=tmp_path, stdin="the cat\n"
    ).result["messages"]
    assert model.chat(told[:1], max_new_tokens=9) == told[1]["content"]


def test_log_prob_and_embedding_are_those_of_transformers(model: fledge.Model) -> None:
    theirs = LlamaForCausalLM.from_pretrained(model.folder).eval()
    allowed = model.loaded.policy().allowed
    assert allowed is not None
    for text in ("the cat sat", "birds"):
        ids = torch.tensor([[model.tokenizer.begin, *model.tokenizer.encode(text)]])
        with torch.no_grad():
            out = theirs(ids, output_hidden_states=True)
        # a model says text or ends; other special tokens are none of its actions
        logits = out.logits[0, :-1].masked_fill(~allowed, -torch.inf)
        wanted = logits.log_softmax(-1).gather(1, ids[0, 1:, None]).sum()
        assert model.log_prob(text) == pytest.approx(float(wanted), abs=1e-4)
        mean = out.hidden_states[-1][0, 1:].mean(0)
        assert torch.allclose(model.embed(text), mean, atol=1e-5)
    both = model.log_prob(["the cat sat", "birds"])
    assert both == pytest.approx([model.log_prob("the cat sat"), model.log_prob("birds")], abs=1e-4)
    assert torch.allclose(model.embed(["the cat sat", "birds"])[1], model.embed("birds"), atol=1e-5)


def test_log_prob_of_an_answer_is_what_the_engine_says(model: fledge.Model) -> None:
    [said] = fledge.sample(model, "cat", seed=4, max_new_tokens=60)["completions"]
    if said["ended"] != "stop":
        said = fledge.sample(model, "cat", choices='["mat", "hill"]')["completions"][0]
    assert model.log_prob("cat", said["completion"]) == pytest.approx(said["raw_logp"], abs=1e-3)


def test_a_reward_model_is_its_sequence_classifier(models: Models) -> None:
    judge = fledge.load_reward_model(models.folder / "reward")
    theirs = AutoModelForSequenceClassification.from_pretrained(judge.folder, num_labels=1).eval()
    tokenizer: Any = judge.loaded.tokenizer
    asked = [tokenizer.begin, tokenizer.user, *tokenizer.encode("the cat"), tokenizer.end]
    row = [*asked, tokenizer.assistant, *tokenizer.encode("mat"), tokenizer.end]
    with torch.no_grad():
        hidden = theirs.model(torch.tensor([row])).last_hidden_state[0, -1]
        wanted = (float(theirs.score(hidden)) - judge.mean) / judge.std
    assert judge.score("the cat", "mat") == pytest.approx(wanted, abs=1e-4)
    assert judge.score("the cat", ["mat", "????"])[0] == pytest.approx(wanted, abs=1e-4)


def test_what_is_no_model_says_what_opens_it(models: Models, tmp_path: Path) -> None:
    with pytest.raises(fledge.UserError, match="load_reward_model"):
        fledge.load(models.folder / "reward")
    with pytest.raises(fledge.UserError, match="does not exist"):
        fledge.load(tmp_path / "nothing")
    model = fledge.load(models.folder / "tune")
    with pytest.raises(fledge.UserError, match="the model's context is 64"):
        model.log_prob("x" * 80)
    with pytest.raises(fledge.UserError, match="perhaps you meant `temperature`"):
        model.generate("cat", temperatur=1)  # pyright: ignore[reportCallIssue]
    assert fledge.load(model.save(tmp_path / "copy")).is_as_saved()
    assert "Llama" in repr(model)
    assert str(models.folder / "tune") in repr(model)


def test_a_model_goes_out_as_the_command_line_writes_it(
    cli: Cli, models: Models, model: fledge.Model, tmp_path: Path
) -> None:
    done = cli(
        f"export {models.folder}/tune out=line.gguf format=gguf weights=f32", folder=tmp_path
    )
    assert done.code == 0, done.stderr
    fledge.export(model, out=tmp_path / "python.gguf", format="gguf", weights="f32")
    assert (tmp_path / "python.gguf").read_bytes() == (tmp_path / "line.gguf").read_bytes()
    assert fledge.load(tmp_path / "python.gguf").parameters == model.parameters
    fledge.show_rope(model, out=tmp_path / "rope.html")
    assert (tmp_path / "rope.html").read_text().startswith("<!doctype html>")
