"""What `transformers` computes of a model is what we compute of it, and the other way round: every
family, every option that changes a number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.engine.engine import Engine
from fledge.engine.request import Request
from fledge.hub.folder import load_model, load_reward_model, save_model
from fledge.log_prob import cap_logits
from fledge.models.language.heads import ScalarModel
from tests.hub.foreign import CHARACTERS, VARIANTS, list_ids, load, make, rows, save
from tests.subjects import seeded

pytest.importorskip("transformers")
every_variant = pytest.mark.parametrize(("family", "options"), VARIANTS, ids=list_ids())


def logits(network: Any, tokens: Tensor) -> Tensor:
    return cap_logits(network(tokens) @ network.unembedding.T, network.logit_cap)


def read(theirs: Any, tokens: Tensor) -> Tensor:
    """The logits of `transformers`. Of long rope, where what it says of a token hangs on how far
    the row goes on, those of the token as the last of its row.
    """
    if (getattr(theirs.config, "rope_parameters", None) or {}).get("rope_type") != "longrope":
        return theirs(tokens).logits
    ends = range(1, tokens.shape[1] + 1)
    return torch.stack([theirs(tokens[:, :end]).logits[:, -1] for end in ends], 1)


@every_variant
@torch.no_grad()
def test_logits_equal_those_of_transformers_in_and_out(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    theirs = make(family, options)
    network = load_model(save(theirs, tmp_path / "theirs")).network
    expected = read(theirs, rows(24))
    assert (logits(network, rows(24)) - expected).abs().max() < 1e-4
    assert expected.log_softmax(-1).std() > 0.1
    save_model(tmp_path / "ours", network, CHARACTERS)
    again, report = load(tmp_path / "ours")
    assert type(again) is type(theirs)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert (read(again, rows(24)) - expected).abs().max() < 1e-4
    back = load_model(tmp_path / "ours").network
    assert back.config == network.config
    assert all(map(torch.equal, back.state_dict().values(), network.state_dict().values()))
    assert network.config.parameters == sum(p.numel() for p in network.parameters())


@every_variant
@torch.no_grad()
def test_the_engine_says_what_the_trainer_computes(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    policy = load_model(save(make(family, options), tmp_path)).policy().double()
    requests = [Request([2 + i % 3, *range(3, 3 + i % 7)], 16, sample=i) for i in range(6)]
    engine = Engine(policy, slots=3)
    for row in engine.run(requests):
        assert len(row.tokens) == 16
        tokens = torch.tensor([row.prompt + row.tokens])
        exact = policy.log_prob(tokens, tokens[:, 1:])[0, len(row.prompt) - 1 :]
        assert row.raw_logp == pytest.approx(exact.tolist(), abs=1e-7)


@every_variant
@torch.no_grad()
def test_a_document_reads_the_same_alone_and_in_a_packed_row(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    network = load_model(save(make(family, options), tmp_path)).network.double()
    row = rows(20, 1).clamp(min=2)
    row[0, 0] = row[0, 9] = CHARACTERS.begin
    assert network.border == CHARACTERS.begin
    packed = network(row, network.document_mask(row))
    torch.testing.assert_close(packed[:, :9], network(row[:, :9]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed[:, 9:], network(row[:, 9:]), atol=1e-5, rtol=1e-5)


@every_variant
def test_every_weight_learns_in_either_precision(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    policy = load_model(save(make(family, options), tmp_path)).policy()
    row = rows(24, 8).clamp(min=6)
    row[0, 11] = CHARACTERS.begin
    gradients = []
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            policy.log_prob(row, row[:, 1:]).sum().backward()
        gradients.append([p.grad for p in policy.parameters()])
        policy.zero_grad()
    for (name, _), one, other in zip(policy.named_parameters(), *gradients, strict=True):
        assert one is not None, name
        assert other is not None, name
        assert one.isfinite().all(), name
        assert one.abs().sum() > 0, name
        # Where an expert is chosen by a hair, rounding chooses another.
        if policy.network.config.experts is None:
            torch.testing.assert_close(one, other, rtol=0, atol=0.2 * float(one.abs().max()))


# of which `transformers` has a model of scores
@pytest.mark.parametrize(
    ("family", "options"),
    [v for v in {f: (f, o) for f, o in VARIANTS}.values() if v[0] != "minimax_m2"],
)
@torch.no_grad()
def test_a_reward_model_scores_the_same_in_transformers(
    family: str, options: dict[str, Any], tmp_path: Path
) -> None:
    import transformers

    model = ScalarModel(load_model(save(make(family, options), tmp_path / "theirs")).network)
    torch.nn.init.normal_(model.head.linear.weight, generator=seeded(1))
    save_model(tmp_path / "model", model.network, CHARACTERS, scalar=model)
    read: Any = transformers.AutoModelForSequenceClassification.from_pretrained
    again, report = read(tmp_path / "model", output_loading_info=True, attn_implementation="eager")
    assert not any(report[name] for name in ("missing_keys", "mismatched_keys"))
    texts = rows(9).clamp(min=6)
    expected = again(texts).logits[:, 0]
    assert (model.score(texts, torch.full((3,), 8)) - expected).abs().max() < 1e-4
    scores, _ = load_reward_model(tmp_path / "model")
    assert torch.equal(scores(texts), model(texts))
