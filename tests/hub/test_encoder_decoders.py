"""What `transformers` computes of a T5 or a BART is what we compute of it, and the other way round;
and it writes the same.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.engine.beam import beam_search
from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.errors import UserError
from fledge.hub.folder import load_model, save_model
from fledge.json_file import json_text, read_json
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.text.paired import PairedTokenizer
from tests.hub.encoder_decoders import VARIANTS, inputs, join, load, make, read, save
from tests.hub.foreign import CHARACTERS, list_ids

pytest.importorskip("transformers")


def logits(network: Any, family: str, given: list[list[int]], targets: Tensor) -> Tensor:
    """Of the targets, as `read` has them."""
    rows, starts = join(family, given, targets)
    every = network(rows) @ network.unembedding.T
    width = targets.shape[1]
    return torch.stack([row[n : n + width] for row, n in zip(every, starts, strict=True)])


@pytest.mark.parametrize(("family", "options"), VARIANTS, ids=list_ids(VARIANTS))
@torch.no_grad()
def test_logits_and_words_equal_those_of_transformers_in_and_out(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    theirs = make(family, options)
    loaded = load_model(save(theirs, tmp_path / "theirs"))
    network, (given, targets) = loaded.network, inputs(family)
    assert isinstance(loaded.tokenizer, PairedTokenizer)
    assert network.config.tied == options.get("tie_word_embeddings", True)
    expected = read(theirs, given, targets)
    assert (logits(network, family, given, targets) - expected).abs().max() < 1e-4
    assert expected.log_softmax(-1).std() > 0.1
    save_model(tmp_path / "ours", network, loaded.tokenizer)
    again, report = load(tmp_path / "ours")
    assert type(again) is type(theirs)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (read(again, given, targets) - expected).abs().max() < 1e-4
    back = load_model(tmp_path / "ours").network
    assert back.config == network.config
    assert all(map(torch.equal, back.state_dict().values(), network.state_dict().values()))
    assert network.config.parameters == sum(p.numel() for p in network.parameters())
    writes_the_same(loaded.policy(), again, family, given)


def writes_the_same(policy: Any, theirs: Any, family: str, given: list[list[int]]) -> None:
    """Greedily, and by beams."""
    policy = TokenPolicy(policy.network)  # `transformers` lets a model say all
    start = [] if family == "bart" else [0]
    requests = [Request([*row, *start], 9, stop=frozenset({2})) for row in given]
    for beams in (1, 3):
        wanted = [
            theirs.generate(
                torch.tensor([row]), max_new_tokens=9, num_beams=beams, do_sample=False,
                early_stopping="never", length_penalty=1.0,
            )[0, 1:].tolist()
            for row in given
        ]  # fmt: skip
        if beams == 1:
            greedy = [replace(each, rule=Decoding(temperature=0)) for each in requests]
            said = [each.tokens for each in Engine(policy, slots=2).run(greedy)]
        else:
            said = [best.tokens for [best] in beam_search(policy, requests, width=beams)]
        assert [cut(tokens) for tokens in wanted] == [cut(tokens) for tokens in said]


def cut(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(2) + 1] if 2 in tokens else tokens


def test_what_would_be_computed_otherwise_is_refused(tmp_path: Path) -> None:
    for family, entry, sentence in [
        ("t5", {"feed_forward_proj": "gated-tanh"}, "fledge reads T5 with relu"),
        ("bart", {"normalize_before": True}, "normalize_before"),
        ("bart", {"activation_function": "tanh"}, "activation_function"),
        ("bart", {"tie_word_embeddings": False}, "tie_word_embeddings"),
    ]:
        folder = save(make(family, {}), tmp_path / f"{family}{len(sentence)}")
        config = folder / "config.json"
        said = read_json(config, dict[str, Any]) | entry
        config.write_text(json_text(said, "config.json"))
        with pytest.raises(UserError, match=sentence):
            load_model(folder)


def test_a_prompt_without_a_start_and_running_text_are_refused(tmp_path: Path) -> None:
    loaded = load_model(save(make("t5", {}), tmp_path / "t5"))
    [row] = Engine(loaded.policy()).run([Request([3, 4, 2], 4)])
    assert row.error is not None
    assert "no start token" in row.error
    with pytest.raises(UserError, match="foretells no running text"):
        _ = loaded.tokenizer.opening
    assert loaded.tokenizer.open_text("ab") == [1, *CHARACTERS.encode("ab"), 2, 0]
