"""Adapters of encoders in PEFT's layout, against PEFT itself: theirs is read, ours is read there,
with equal logits of labels, of tags, and equal hidden states of a bare trunk.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.hub.folder import Loaded, is_encoder, load_encoder
from fledge.models.language.adapters import LoRA, list_adapters
from fledge.models.language.encoder import with_classifier
from fledge.models.language.encoder_config import Classifier
from tests.encoder_folder import make_encoder
from tests.subjects import seeded

peft: Any = pytest.importorskip("peft")
transformers: Any = pytest.importorskip("transformers")

LABELS = ("no", "yes", "perhaps")
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {"family": "bert"},
    "roberta": {"family": "roberta", "first_position": 2, "types": 1},
    "distilbert": {"family": "distilbert", "types": 0, "pooler_activation": "relu"},
    "electra": {"family": "electra", "pooler_activation": "gelu", "embedding_width": 16},
    "modernbert": {
        "family": "modernbert", "learned_positions": False, "types": 0, "norm_first": True,
        "norm_eps": 1e-5, "norm_bias": False, "attention_bias": False, "mlp_bias": False,
        "gated": True, "window": 4, "transform_bias": False, "local_layers": (1,),
    },
}  # fmt: skip
AUTO: dict[Classifier, str] = {
    "sequence": "AutoModelForSequenceClassification", "token": "AutoModelForTokenClassification",
    "choice": "AutoModelForMultipleChoice", "": "AutoModel",
}  # fmt: skip


def move(network: Any) -> None:
    """As if it had learned."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(5)))


def adapted(base: Path, kind: Classifier, settings: LoRA | None = None) -> Loaded:
    loaded = load_encoder(base)
    labels = ("",) if kind == "choice" else LABELS
    network = with_classifier(loaded.network, kind, labels, seeded(2)).eval()
    loaded = Loaded(network, loaded.tokenizer, loaded.folder, loaded.config, asked=base)
    loaded = loaded.adapt(settings or LoRA(4, 8.0), generator=seeded(1))
    move(loaded.network)
    return loaded


def tokens() -> Tensor:
    return torch.randint(5, 15, (2, 9), generator=seeded(3))


@torch.no_grad()
def say(network: Any, kind: Classifier) -> Tensor:
    hidden = network(tokens())
    if kind == "token":
        return network.tag_logits(hidden)
    return network.class_logits(hidden) if kind else hidden


@torch.no_grad()
def say_theirs(model: Any, kind: Classifier) -> Tensor:
    rows = {"input_ids": tokens(), "attention_mask": torch.ones_like(tokens())}
    if kind == "choice":
        return model(**{name: row[None] for name, row in rows.items()}).logits[0][:, None]
    said = model(**rows)
    return said.logits if kind else said.last_hidden_state


def open_with_peft(base: Path, folder: Path, kind: Classifier) -> Any:
    labels = {} if kind in ("", "choice") else {"num_labels": len(LABELS)}
    model = getattr(transformers, AUTO[kind]).from_pretrained(
        base, attn_implementation="eager", **labels
    )
    return peft.PeftModel.from_pretrained(model, folder).eval()


@pytest.mark.parametrize("kind", list(AUTO))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_peft_reads_ours_and_we_do(family: str, kind: Classifier, tmp_path: Path) -> None:
    if family == "modernbert" and kind == "choice":
        pytest.skip("its choice has another head in transformers 5.24")
    base = make_encoder(tmp_path / "base", **FAMILIES[family])
    loaded = adapted(base, kind)
    loaded.save(tmp_path / "adapter", fledge_task="a note")
    expected = say(loaded.network, kind)
    if not kind:
        assert (expected - say(load_encoder(base).network, "")).abs().max() > 1e-3
    again = load_encoder(tmp_path / "adapter")
    assert is_encoder(tmp_path / "adapter")
    assert again.config["fledge_task"] == "a note"
    torch.testing.assert_close(say(again.network, kind), expected, rtol=0, atol=1e-6)
    assert again.network.config.labels == loaded.network.config.labels
    theirs = say_theirs(open_with_peft(base, tmp_path / "adapter", kind), kind)
    torch.testing.assert_close(theirs, expected, rtol=0, atol=1e-4)
    again.merged().save(tmp_path / "merged")
    merged = load_encoder(tmp_path / "merged")
    torch.testing.assert_close(say(merged.network, kind), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["sequence", "token", ""])
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert"])
def test_ours_is_what_peft_says(family: str, kind: Classifier, tmp_path: Path) -> None:
    """Of an adapter that PEFT has made, with dora and patterns of its own; labels are numbered."""
    base = make_encoder(tmp_path / "base", **FAMILIES[family], pooler=family == "bert")
    torch.manual_seed(0)
    labels = {"num_labels": 3} if kind else {}
    model = getattr(transformers, AUTO[kind]).from_pretrained(
        base, attn_implementation="eager", **labels
    )
    target = ["Wqkv", "Wi"] if family == "modernbert" else ["query", "value", "dense"]
    heads = ["head.dense", "head.norm", "classifier"] if family == "modernbert" else ["classifier"]
    task = {"sequence": "SEQ_CLS", "token": "TOKEN_CLS", "": "FEATURE_EXTRACTION"}[kind]
    exclude = ".*(pooler|classifier).*" if family != "modernbert" else None
    settings = peft.LoraConfig(
        task_type=task, r=3, lora_alpha=6, target_modules=target, use_dora=True,
        exclude_modules=exclude, modules_to_save=heads if kind else None,
    )  # fmt: skip
    theirs = peft.get_peft_model(model, settings).eval()
    move(theirs)
    theirs.save_pretrained(tmp_path / "adapter")
    ours = load_encoder(tmp_path / "adapter")
    assert len(list(list_adapters(ours.network))) > 0
    torch.testing.assert_close(say(ours.network, kind), say_theirs(theirs, kind), rtol=0, atol=1e-4)
    numbered = tuple(f"LABEL_{i}" for i in range(3))
    assert ours.network.config.labels == (numbered if kind else ())


def test_a_head_that_was_not_kept_is_refused(tmp_path: Path) -> None:
    """PEFT keeps of ModernBERT's head what is called classifier, and not what stands before it,
    which began at random.
    """
    base = make_encoder(tmp_path / "base", **FAMILIES["modernbert"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=3)
    settings = peft.LoraConfig(task_type="SEQ_CLS", target_modules=["Wqkv"])
    peft.get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    with pytest.raises(UserError, match=r"head.* at random .* modules_to_save"):
        load_encoder(tmp_path / "adapter")


def test_what_is_no_adapter_of_this_encoder_is_refused(tmp_path: Path) -> None:
    base = make_encoder(tmp_path / "base", **FAMILIES["bert"])
    adapted(base, "sequence").save(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps(said | {"task_type": "CAUSAL_LM"}))
    (tmp_path / "adapter" / "fledge_adapter.json").unlink()
    with pytest.raises(UserError, match="task_type=CAUSAL_LM, which an encoder has not"):
        load_encoder(tmp_path / "adapter")
