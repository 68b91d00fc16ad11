"""A reward model whose tokenizer pads with the token that ends a turn gives the same scores in
`transformers`, which reads a score at the last token that is no padding.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.hub.folder import load_reward_model, save_model
from fledge.models.language.heads import ScalarModel
from fledge.models.language.transformer import Transformer, TransformerConfig
from tests.subjects import seeded
from tests.text.template_styles import CHATML
from tests.text.test_foreign_chat import load

transformers = pytest.importorskip("transformers")


def make(folder: Path) -> ScalarModel:
    tokenizer = load(folder / "tokenizer", CHATML, pad_token="<|im_end|>")
    assert tokenizer.pad in tokenizer.ends
    sizes = TransformerConfig(
        tokenizer.vocab_size, context=32, layers=2, width=32, heads=4, kv_heads=2
    )
    model = ScalarModel(Transformer(sizes, tokenizer.border, generator=seeded(1)))
    with torch.no_grad():
        model.head.linear.weight.normal_(generator=seeded(2))
    save_model(folder / "model", model.network, tokenizer, scalar=model)
    return model


@torch.no_grad()
def test_a_row_that_ends_with_the_end_of_a_turn_has_its_score_there(tmp_path: Path) -> None:
    ours = make(tmp_path)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    again, loaded = load_reward_model(tmp_path / "model")
    end = loaded.tokenizer.end
    assert end is not None
    rows = [[5, 9, 7, 11, end], [8, 6, end, end], [4, end, 10]]
    pad = theirs.config.pad_token_id
    for row in rows:
        tokens, last = torch.tensor([row]), torch.tensor([len(row) - 1])
        score = ours.score(tokens, last)
        torch.testing.assert_close(again.score(tokens, last), score)
        torch.testing.assert_close(theirs(tokens).logits[:, 0], score, atol=1e-5, rtol=1e-5)
    padded = torch.tensor([row + [pad] * (5 - len(row)) for row in rows])
    last = torch.tensor([len(row) - 1 for row in rows])
    mask = torch.arange(5) <= last[:, None]
    torch.testing.assert_close(
        theirs(padded, attention_mask=mask.long()).logits[:, 0], ours.score(padded, last),
        atol=1e-5, rtol=1e-5,
    )  # fmt: skip


def test_a_folder_of_transformers_scores_the_same_and_a_classifier_is_none(tmp_path: Path) -> None:
    make(tmp_path)
    for labels in (1, 3):
        config = transformers.AutoConfig.from_pretrained(tmp_path / "model", num_labels=labels)
        theirs = transformers.AutoModelForSequenceClassification.from_config(config).eval()
        theirs.save_pretrained(tmp_path / "theirs")
        for file in (tmp_path / "tokenizer").iterdir():
            (tmp_path / "theirs" / file.name).write_bytes(file.read_bytes())
        if labels > 1:
            with pytest.raises(UserError, match="tells 3 labels apart"):
                load_reward_model(tmp_path / "theirs")
            continue
        read, _ = load_reward_model(tmp_path / "theirs")
        tokens = torch.tensor([[5, 9, 7, 11]])
        with torch.no_grad():
            torch.testing.assert_close(
                read.score(tokens, torch.tensor([3])), theirs(tokens).logits[:, 0],
                atol=1e-5, rtol=1e-5,
            )  # fmt: skip
