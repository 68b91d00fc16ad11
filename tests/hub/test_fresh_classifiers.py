"""A fresh classifier on an encoder that was trained on masked tokens is, once saved, the model of
`transformers` for its kind, with the same logits and the labels' names.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.hub.folder import load_encoder, save_model
from fledge.models.language.encoder import with_classifier
from fledge.models.language.encoder_config import Classifier
from tests.hub.foreign import CHARACTERS
from tests.hub.test_encoders import LOCAL, NAMES, list_types, make, read_ours, read_theirs
from tests.subjects import seeded

transformers: Any = pytest.importorskip("transformers")

KINDS: dict[Classifier, str] = {
    "sequence": "SequenceClassification", "token": "TokenClassification",
    "choice": "MultipleChoice",
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "roberta": {"type_vocab_size": 1}, "electra": {"embedding_size": 8}, "modernbert": LOCAL,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", NAMES)
@torch.no_grad()
def test_a_fresh_classifier_is_theirs(family: str, kind: Classifier, tmp_path: Path) -> None:
    make(family, OPTIONS.get(family, {}), "MaskedLM").save_pretrained(tmp_path / "base")
    CHARACTERS.save(tmp_path / "base")
    base = load_encoder(tmp_path / "base").network
    labels = ("",) if kind == "choice" else ("no", "perhaps", "yes")
    network = with_classifier(base, kind, labels, seeded(3))
    trunk = {name: x for name, x in base.state_dict().items() if name.startswith("blocks.")}
    assert all(torch.equal(network.state_dict()[name], x) for name, x in trunk.items())
    save_model(tmp_path / "ours", network, CHARACTERS)
    model = getattr(transformers, f"AutoModelFor{KINDS[kind]}")
    theirs, report = model.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    types = list_types(network)
    [one], [other] = (
        read_ours(network, KINDS[kind], types), read_theirs(theirs.eval(), KINDS[kind], types)
    )  # fmt: skip
    assert (one - other).abs().max() < 1e-4
    assert other.std() > 0.001
    if kind != "choice":
        assert theirs.config.id2label == {0: "no", 1: "perhaps", 2: "yes"}
