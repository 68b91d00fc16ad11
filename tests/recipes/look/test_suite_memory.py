"""What the questions of a suite are said to take, against sums by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fledge.evaluate.suites.suite import Asked, SuiteName, open_suite
from fledge.hub.folder import Loaded, load_model, save_model
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.recipes.look.suite_fields import EvaluateSuiteConfig
from fledge.recipes.look.suite_memory import estimate_suite_memory, size_answers
from fledge.recipes.memory import Memory, Sampling
from fledge.text.tokenizer import train_tokenizer

LAYERS, KV_HEADS, HEAD_WIDTH = 3, 2, 8
TOKEN = 2 * KV_HEADS * HEAD_WIDTH * 4  # bytes of a token's keys and values in one layer
READ = "Question: why\nAnswer: sea\n\n"  # an example, as lm-evaluation-harness words ARC
SAID = "Question: why\nAnswer: 3\n\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """A token is a byte."""
    place = tmp_path_factory.mktemp("suite")
    tokenizer = train_tokenizer("bytes", [])
    sizes = TransformerConfig(
        tokenizer.vocab_size, context=256, layers=LAYERS, width=32, heads=4, kv_heads=KV_HEADS,
        mlp_width=64,
    )  # fmt: skip
    save_model(place / "base", Transformer(sizes, border=tokenizer.border), tokenizer)
    return load_model(place / "base")


def ask(
    place: Path, model: Loaded, suite: SuiteName, shots: int
) -> tuple[EvaluateSuiteConfig, Asked]:
    """Ten rows that are all alike."""
    rows: dict[SuiteName, dict[str, object]] = {
        "arc_easy": {"question": "why", "choices": ["sea", "sun"], "label": 0},
        "gsm8k": {"question": "why", "answer": "3"},
    }
    data = place / "rows.jsonl"
    data.write_text((json.dumps(rows[suite]) + "\n") * 10)
    config = EvaluateSuiteConfig(
        base=model.folder, suite=suite, data=data, shots=shots,
        max_new_tokens=20 if suite == "gsm8k" else None,
    )  # fmt: skip
    return config, open_suite(suite, data, shots=shots)


def estimate(model: Loaded, place: Path, shots: int) -> Memory:
    config, asked = ask(place, model, "arc_easy", shots)
    return estimate_suite_memory(config, model, asked)


def test_of_choices_the_examples_are_kept_once_and_copied_in_one_layer_for_each_row(
    model: Loaded, tmp_path: Path
) -> None:
    """A pass is of 2,048 tokens, or of as many rows as have 16 times as many that are kept."""
    bare, some = (estimate(model, tmp_path, shots) for shots in (0, 5))
    number = 1 + 5 * len(READ)  # all begin with the token that a text begins with
    assert bare.keys == 0
    assert some.keys == TOKEN * number * (LAYERS + 2048 * 16 // number)
    assert some.most - some.program == bare.most - bare.program + some.keys


def test_who_answers_in_words_keeps_eight_rows_for_the_examples(
    model: Loaded, tmp_path: Path
) -> None:
    """The longest row is the examples, the question and 20 tokens of an answer."""
    for shots, kept in ((0, 0), (3, 8)):
        config, asked = ask(tmp_path, model, "gsm8k", shots)
        row = 1 + shots * len(SAID) + len("Question: why\nAnswer:") + 20
        assert size_answers(config, model, asked) == Sampling(10 - shots, row, kept)
        weights = sum(p.numel() for p in model.network.parameters())
        expected = 4 * weights + (10 - shots + kept + 1) * row * LAYERS * TOKEN
        assert estimate_suite_memory(config, model, asked).sampling == expected
