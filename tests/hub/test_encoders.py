"""What `transformers` computes of an encoder is what fledge computes of it, and back again:
every family, every option that changes a number, every head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import load_encoder, load_model, save_model
from fledge.models.language.encoder import Encoder
from tests.hub.foreign import CHARACTERS, name
from tests.subjects import seeded

transformers: Any = pytest.importorskip("transformers")

BERT = {
    "vocab_size": 11, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip
DISTILBERT = {
    "vocab_size": 11, "dim": 16, "hidden_dim": 24, "n_layers": 3, "n_heads": 4,
    "max_position_embeddings": 40, "pad_token_id": 0,
}  # fmt: skip
SIZES = {"distilbert": DISTILBERT}
HEADS = ("MaskedLM", "PreTraining", "NextSentencePrediction", "SequenceClassification",
         "TokenClassification", "MultipleChoice", "")  # fmt: skip
NAMES = {"bert": "Bert", "roberta": "Roberta", "distilbert": "DistilBert", "electra": "Electra",
         "modernbert": "ModernBert"}  # fmt: skip
# Rows of 18 tokens are attended to in blocks, shorter ones under a mask.
LOCAL = {"local_attention": 4, "bos_token_id": 1, "eos_token_id": 2}
ROPES = {"full_attention": {"rope_type": "default", "rope_theta": 500.0},
         "sliding_attention": {"rope_type": "default", "rope_theta": 20.0}}  # fmt: skip
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("bert", {}),
    ("bert", {"hidden_act": "relu", "type_vocab_size": 3, "layer_norm_eps": 1e-3}),
    ("bert", {"hidden_act": "gelu_new"}),
    ("roberta", {"type_vocab_size": 1}),
    ("roberta", {"type_vocab_size": 2, "hidden_act": "silu"}),
    ("distilbert", {}),
    ("distilbert", {"activation": "relu", "sinusoidal_pos_embds": True}),
    ("electra", {"embedding_size": 16}),
    ("electra", {"embedding_size": 8, "hidden_act": "gelu_new"}),
    ("modernbert", LOCAL),
    ("modernbert", LOCAL | {"layer_types": ["full_attention"] * 3, "norm_eps": 1e-3}),
    ("modernbert", LOCAL | {
        "attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True,
        "decoder_bias": False, "rope_parameters": ROPES, "classifier_pooling": "mean",
        "hidden_activation": "silu", "classifier_activation": "relu",
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
    ("modernbert", LOCAL | {"tie_word_embeddings": False}),
]  # fmt: skip
TOKENS = torch.randint(6, 11, (4, 18), generator=seeded(1))
LENGTHS = torch.tensor([18, 7, 12, 7])
SEEN = torch.arange(18) < LENGTHS[:, None]


def has(family: str, head: str) -> bool:
    known = {"PreTraining": ("bert", "electra"), "NextSentencePrediction": ("bert",)}
    return family in known.get(head, NAMES)


CASES = [
    pytest.param(variant, head, id=f"{name(variant)}-{head or 'trunk'}")
    for variant in VARIANTS
    for head in HEADS
    if has(variant[0], head)
]


@torch.no_grad()
def make(family: str, options: dict[str, Any], head: str) -> Any:
    """A model of `transformers` with weights that make every part of it matter."""
    sizes = SIZES.get(family, BERT) | options
    labels = {0: "no", 1: "perhaps", 2: "yes"}
    if "Classification" in head:
        sizes |= {"id2label": labels, "label2id": {label: i for i, label in labels.items()}}
    config = transformers.AutoConfig.for_model(family, **sizes)
    kind = getattr(transformers, f"{NAMES[family]}{'For' if head else ''}{head or 'Model'}")
    model = kind(config)
    for number, weight in enumerate(model.parameters()):
        noise = torch.randn(weight.shape, generator=seeded(number))
        if weight.ndim == 1:
            weight += 0.3 * noise
        else:
            weight.copy_(noise / weight.shape[-1] ** 0.5)
    return model.eval()


def list_types(network: Encoder) -> Tensor | None:
    """Of the first half of each row, and of the rest."""
    kinds = network.config.types
    return (torch.arange(18) // 9).expand(4, 18).clamp(max=kinds - 1) if kinds > 1 else None


def read_theirs(model: Any, head: str, types: Tensor | None) -> list[Tensor]:
    """What it says of the rows: of hidden states and tags, of tokens that are there."""
    said = {"input_ids": TOKENS, "attention_mask": SEEN.long()}
    if types is not None:
        said["token_type_ids"] = types
    if head == "MultipleChoice":
        said = {key: value.view(2, 2, 18) for key, value in said.items()}
        return [model(**said).logits]
    out = model(**said)
    if head == "":
        pooled = getattr(out, "pooler_output", None)
        return [out.last_hidden_state[SEEN], *([] if pooled is None else [pooled])]
    if head == "PreTraining" and hasattr(out, "prediction_logits"):
        return [out.prediction_logits[SEEN], out.seq_relationship_logits]
    by_token = head in ("MaskedLM", "TokenClassification", "PreTraining")
    return [out.logits[SEEN] if by_token else out.logits]


def read_ours(network: Encoder, head: str, types: Tensor | None) -> list[Tensor]:
    hidden = network(TOKENS, LENGTHS, types)
    if head == "":
        return [hidden[SEEN], *([network.pooled(hidden, LENGTHS)] if network.config.pooler else [])]
    if head in ("SequenceClassification", "MultipleChoice"):
        logits = network.class_logits(hidden, LENGTHS)
        return [logits.view(2, 2) if head == "MultipleChoice" else logits]
    if head == "TokenClassification":
        return [network.tag_logits(hidden[SEEN])]
    if head == "NextSentencePrediction":
        return [network.next_logits(hidden, LENGTHS)]
    if network.config.replaced:
        return [network.replaced_logits(hidden[SEEN])]
    masked = [network.masked_logits(hidden[SEEN])]
    return [*masked, network.next_logits(hidden)] if head == "PreTraining" else masked


@pytest.mark.parametrize(("variant", "head"), CASES)
@torch.no_grad()
def test_logits_equal_those_of_transformers_in_and_out(
    variant: tuple[str, dict[str, Any]], head: str, tmp_path: Path
) -> None:
    theirs = make(*variant, head)
    theirs.save_pretrained(tmp_path / "theirs")
    CHARACTERS.save(tmp_path / "theirs")
    network = load_encoder(tmp_path / "theirs").network
    types = list_types(network)
    expected = read_theirs(theirs, head, types)
    for one, other in zip(read_ours(network, head, types), expected, strict=True):
        assert (one - other).abs().max() < 1e-4
        assert other.std() > 0.01
    assert network.config.parameters == sum(p.numel() for p in network.parameters())
    save_model(tmp_path / "ours", network, CHARACTERS)
    again, report = type(theirs).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for one, other in zip(read_theirs(again.eval(), head, types), expected, strict=True):
        assert (one - other).abs().max() < 1e-4
    assert again.config.id2label == theirs.config.id2label
    back = load_encoder(tmp_path / "ours").network
    assert back.config == network.config
    assert all(map(torch.equal, back.state_dict().values(), network.state_dict().values()))


def test_what_goes_on_with_texts_is_asked_of_no_encoder(tmp_path: Path) -> None:
    make("bert", {}, "MaskedLM").save_pretrained(tmp_path)
    CHARACTERS.save(tmp_path)
    with pytest.raises(UserError, match=r"is an encoder \(Bert\), which has no next token"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("family", "entry"), [("bert", "hidden_dropout_prob"), ("distilbert", "dropout")]
)
def test_how_much_is_dropped_goes_in_and_out(family: str, entry: str, tmp_path: Path) -> None:
    """And nothing is where config.json says nothing, as in what earlier versions wrote."""
    make(family, {entry: 0.25}, "SequenceClassification").save_pretrained(tmp_path / "theirs")
    CHARACTERS.save(tmp_path / "theirs")
    loaded = load_encoder(tmp_path / "theirs")
    assert loaded.network.config.dropout == 0.25
    loaded.network.use_dropout(0.125)
    loaded.save(tmp_path / "ours")
    said = transformers.AutoConfig.from_pretrained(tmp_path / "ours")
    assert getattr(said, entry) == 0.125
    file = tmp_path / "theirs" / "config.json"
    file.write_text(file.read_text().replace(f'"{entry}"', '"unknown"'))
    assert load_encoder(tmp_path / "theirs").network.config.dropout == 0
