"""A recurrent model that reads documents from their end, by real command lines: what is said of a
text is its chain rule from there, and layers of both directions are features side by side.
"""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
import torch
from tests.cli.commands import PRETRAIN, TUNE, Cli, Models, outcome

from fledge.hub.folder import actions, load_model

LSTM = PRETRAIN.replace(" heads=2", " architecture=lstm")
BACK = f"{LSTM} backward=true"


@pytest.fixture(scope="module")
def place(cli: Cli, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs: back, forth."""
    folder = tmp_path_factory.mktemp("directions")
    for out, words in (("back", BACK), ("forth", LSTM)):
        done = cli(models.fill(f"{words} out={out}"), folder=folder)
        assert done.code == 0, done.stderr
    return folder


def test_a_text_is_told_from_its_end(place: Path, cli: Cli) -> None:
    """Each document by itself: its letters in the other order, and that it begins, against the
    network asked once. One is longer than the context.
    """
    texts = ["the old cat sat", "on a mat", "and then it sang of hills and of the sea " * 3]
    rows = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (place / "texts.jsonl").write_text(rows)
    told = cli("evaluate back data=texts.jsonl whole=true --json", folder=place).result
    loaded = load_model(place / "back", backward=True)
    network, tokenizer = loaded.network, loaded.tokenizer
    assert network.config.backward
    sayable = actions(tokenizer, network.config.vocab_size)
    nats, number = 0.0, 0
    for text in texts:
        B, E = tokenizer.opening[0], tokenizer.closing[0]
        row = [B, *tokenizer.encode(text), E]
        windows = []
        while len(row) > 65:  # as the context of 64 cuts it, forwards
            windows.append(row[:65])
            row = row[64:]
        windows.append(row)
        for window in windows:
            turned = [{B: E, E: B}.get(t, t) for t in reversed(window)]
            tokens = torch.tensor([turned])
            with torch.no_grad():
                logits = network(tokens[:, :-1]) @ network.unembedding.T
            logp = logits.masked_fill(~sayable, -torch.inf).log_softmax(-1)[0]
            for t, token in enumerate(turned[1:]):
                nats, number = nats - float(logp[t, token]), number + 1
    assert told["tokens"] == number
    assert told["nats_per_token"] * number == pytest.approx(nats, rel=1e-5)
    forwards = cli("evaluate forth data=texts.jsonl whole=true --json", folder=place).result
    assert forwards["tokens"] == number  # the same tokens, each told once
    assert forwards["bytes"] == told["bytes"]


def test_layers_of_both_directions(place: Path, cli: Cli, models: Models) -> None:
    draw, lines = random.Random(2), []
    for n in range(120):
        tells = draw.choice(["green", "seven"])
        lines.append(json.dumps({"text": f"the cat {n} {tells}", "label": tells}))
    (place / "rows.jsonl").write_text("\n".join(lines))
    learn = f"vectors data={models.folder / 'text.txt'} dims=8 epochs=1 min_count=1 out=run"
    assert cli(learn, folder=place).code == 0
    ask = "vectors run=run classify=rows.jsonl contextual={} --json"
    both = cli(ask.format("forth,back"), folder=place).result["classify"]
    assert set(both["layers, weighted"]) >= {"layer 0", "layer 1"}
    assert both["last layer"]["test"] > 0.6
    assert cli(ask.format("back"), folder=place).code == 0


@pytest.mark.parametrize("more", ["", " carry=true row_tokens=16"])
def test_it_goes_on_with_the_same_bits(more: str, cli: Cli, models: Models, tmp_path: Path) -> None:
    words = models.fill(f"{BACK}{more} out=killed".replace("steps=12", "steps=60"))
    killed = tmp_path / "killed"
    ended = cli(words, folder=tmp_path, signal=signal.SIGKILL, after_s=0.1,
                once=killed / "metrics.jsonl")  # fmt: skip
    assert ended.code == -signal.SIGKILL, ended
    assert cli("resume killed", folder=tmp_path).code == 0
    whole = [*words[:-1], "out=whole"]
    assert cli(whole, folder=tmp_path).code == 0
    assert outcome(killed) == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("sample base=back prompt=a", "reads texts from their end (backward=true)"),
        (TUNE.replace("{pretrain}", "back"), "reads texts from their end (backward=true)"),
        ("evaluate back data={text} interpolate=forth", "reads texts from their end"),
        (f"{PRETRAIN} backward=true", "backward=true is of recurrent models"),
        (f"{LSTM} backward=true objective=fim", "objective=fim moves its middles"),
        ("pretrain architecture=ngram data={text} backward=true", "leave out backward"),
        ("pretrain architecture=bert data={text} backward=true", "which an encoder has not"),
    ],
)
def test_what_it_does_not(words: str, sentence: str, place: Path, cli: Cli, models: Models) -> None:
    assert sentence in cli(models.fill(words), folder=place).complaint
