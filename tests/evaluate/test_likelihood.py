"""Held-out likelihood counts every token once, whatever the windows and the batches."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fledge.evaluate.likelihood import (
    judge_conversations,
    measure_conversation_loss,
    measure_likelihood,
    read_documents,
)
from fledge.text.documents import Document
from fledge.text.packed import TokenRow
from fledge.text.tokenizer import load_tokenizer, train_tokenizer
from tests.subjects import policy_of, transformer
from tests.text.foreign_kinds import KINDS, PROSE, write

BYTES = train_tokenizer("bytes", [])
EVEN = policy_of(transformer(vocab_size=BYTES.vocab_size, context=16))
with torch.no_grad():
    EVEN.network.unembedding.zero_()  # every token that may be said is as likely as any other
CHOICES = int(torch.as_tensor(EVEN.allowed).sum())
ROWS: list[TokenRow] = [
    ([1, 2, 3, 4], [False, False, True, True]),
    ([5, 6], [False, True]),
    ([7, 8, 9, 10, 1, 2], [False, True, True, False, False, True]),
]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text("abä\n", max_size=40), min_size=1, max_size=8),
    st.integers(2, 16),
    st.integers(1, 40),
    st.integers(1, 60),
)
def test_each_byte_and_each_end_of_a_document_is_foretold_once(
    texts: list[str], context: int, at_a_time: int, waiting: int
) -> None:
    documents = [Document(text, str(number)) for number, text in enumerate(texts)]
    windows = read_documents(documents, BYTES, context, at_a_time, waiting)
    measured = measure_likelihood(EVEN, windows, BYTES)
    size = sum(len(text.encode()) for text in texts)
    assert measured.bytes == size
    assert measured.tokens == size + len(texts)
    assert measured.nats == pytest.approx(measured.tokens * math.log(CHOICES), rel=1e-5)
    if size:
        bits = measured.tokens * math.log2(CHOICES) / size
        assert measured.bits_per_byte == pytest.approx(bits, rel=1e-5)


@pytest.mark.parametrize("kind", ["byte-level", "llama 3", "sentencepiece"])
def test_so_is_each_byte_in_the_tokens_of_another_model(kind: str, tmp_path: Path) -> None:
    made = KINDS[kind]()
    end = "</s>" if kind == "sentencepiece" else made.id_to_token(0)
    tokenizer = load_tokenizer(write(tmp_path, made, eos_token=end))
    policy = policy_of(transformer(vocab_size=tokenizer.vocab_size, context=16))
    texts = [*dict.fromkeys(PROSE), "", "a"]
    tokens = sum(len(ids) for ids in tokenizer.encode_many(texts)) + len(texts)
    documents = [Document(text, str(number)) for number, text in enumerate(texts)]
    measured = measure_likelihood(policy, read_documents(documents, tokenizer, 7), tokenizer)
    assert measured.bytes == sum(len(text.encode()) for text in texts)
    assert measured.tokens == tokens


def test_the_loss_of_rows_is_the_mean_over_their_trained_tokens() -> None:
    policy = policy_of(transformer(seed=3))
    nats = []
    for ids, own in ROWS:
        obs = torch.tensor([ids])
        with torch.no_grad():
            logits = policy.network(obs, None)[0] @ policy.network.unembedding.T
        logp = logits.masked_fill(~torch.as_tensor(policy.allowed), -math.inf).log_softmax(-1)
        nats += [-float(logp[t - 1, ids[t]]) for t in range(1, len(ids)) if own[t]]
    assert len(nats) == 6
    for at_a_time in (1, 8, 12, 5000):  # each row alone, the first two, all three
        loss = measure_conversation_loss(policy, ROWS, at_a_time)
        assert loss == pytest.approx(sum(nats) / 6, rel=1e-5)
    judge = judge_conversations(policy, {"validation": ROWS[:1], "test": ROWS[1:]})
    assert judge.steer(0) == {"validation_loss": pytest.approx(sum(nats[:2]) / 2, rel=1e-5)}
    assert judge.test() == {"loss": pytest.approx(sum(nats[2:]) / 4, rel=1e-5)}
    assert judge.items == {"validation": 1, "test": 2}
