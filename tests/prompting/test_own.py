"""Our own models as speakers: bound to labels and to JSON whatever they would say, the same with
and without what the prefix cache keeps.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.prompting.label_prompt import UNREAD, Labelled, LabelPrompt
from fledge.prompting.own import OwnSpeaker
from fledge.prompting.program import Asking
from fledge.prompting.registry import PROGRAMS
from fledge.prompting.speaker import Saying, ask_user
from fledge.text.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def speaker() -> OwnSpeaker:
    tokenizer = train_tokenizer("bytes", ["a"])
    config = transformer_config("nano", tokenizer.vocab_size, context=1024, layers=1)
    generator = torch.Generator().manual_seed(0)
    network = Transformer(config, border=tokenizer.border, generator=generator).eval()
    return OwnSpeaker(Loaded(network, tokenizer, Path(), {}))


def test_labels_are_all_that_is_said(speaker: OwnSpeaker) -> None:
    prompt = LabelPrompt(("negative", "positive"), "Review: {text}\nSentiment: {label}")
    shown = [Labelled("dull", 0), Labelled("fine", 1)]
    said = prompt.label(speaker, shown, [f"text {i}" for i in range(9)])
    assert set(said) <= {0, 1}


def test_structured_output_is_json_whatever_the_model_would_say(speaker: OwnSpeaker) -> None:
    asking = Asking(speaker, (), Saying(700, temperature=1.0, seed=3), (), lambda sources: [])
    program = PROGRAMS["structured"]
    answered = program.answer(asking, ["one?", "two?"], program.settings())
    for one in answered:
        value = json.loads(one.turns[-1]["content"])
        assert list(value) == ["reasoning", "answer"]
        assert one.answer == value["answer"].strip()


def test_prompts_of_one_call_do_not_change_each_other(speaker: OwnSpeaker) -> None:
    prompts = ["one text", "one text and more", [ask_user("one text")], "one text"]
    saying = Saying(12)
    together = speaker.say(prompts, saying)
    assert together == [speaker.say([prompt], saying)[0] for prompt in prompts]
    assert together[0] == together[3]
    drawn = speaker.say(["one text"] * 4, Saying(12, temperature=1.0))
    assert len(set(drawn)) > 1  # each is drawn for itself


def test_a_prompt_beyond_the_context_is_said(speaker: OwnSpeaker) -> None:
    with pytest.raises(UserError, match="context is 1024"):
        speaker.say(["x" * 2000], Saying(4))


def test_a_label_prompt_by_hand() -> None:
    prompt = LabelPrompt(("no", "not sure"), "Q: {text}\nA: {label}")
    assert prompt.write([Labelled("a", 1)], "b") == "Q: a\nA: not sure\n\nQ: b\nA:"
    assert [prompt.read(said) for said in (" No.", "not sure", "yes", "")] == [
        0, 1, UNREAD, UNREAD,
    ]  # fmt: skip
    for wrong in ("{text}", "{label} {text}", "{text}{text}: {label}"):
        with pytest.raises(UserError, match="ends in"):
            LabelPrompt(("a", "b"), wrong)
