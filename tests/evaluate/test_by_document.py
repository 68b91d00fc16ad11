"""Documents one by one, in windows that overlap: each token once, from as much as it should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fledge.evaluate.by_document import bound_bits, cut_overlapping, measure_documents
from fledge.evaluate.likelihood import measure_likelihood, read_documents
from fledge.text.documents import Document
from fledge.text.tokenizer import train_tokenizer
from tests.subjects import policy_of, transformer

BYTES = train_tokenizer("bytes", [])
POLICY = policy_of(transformer(vocab_size=BYTES.vocab_size, context=16))
TEXTS = ["the cat sat on a mat", "", "seven birds sang over green hills and old rivers " * 3, "ä"]
DOCUMENTS = [Document(text, f"file {i}") for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("stride", [1, 3, 8, 16])
def test_each_token_is_foretold_once_from_enough_before_it(stride: int) -> None:
    ids, context, told = list(range(100)), 16, list[int]()
    for row in cut_overlapping(ids, context, stride):
        assert len(row.tokens) <= context + 1
        said = row.tokens[row.start :]
        told += said
        for place, token in enumerate(said, row.start):
            assert place >= min(token, context - stride + 1)
    assert told == ids[1:]


@torch.no_grad()
def test_the_nats_are_those_of_every_token_from_its_own_past() -> None:
    """With a stride of 1 each token is read from the 16 before it: computed here one by one."""
    measured = measure_documents(POLICY, DOCUMENTS, BYTES, 16, stride=1)
    for one, document in zip(measured, DOCUMENTS, strict=True):
        ids = [*BYTES.opening, *BYTES.encode(document.text), *BYTES.closing]
        nats = 0.0
        for place in range(1, len(ids)):
            row = torch.tensor([ids[max(0, place - 16) : place]])
            logits = POLICY.logits(POLICY.hidden(row)[0, -1:]).double()
            nats -= float(logits.log_softmax(-1)[0, ids[place]])
        assert one.nats == pytest.approx(nats, rel=1e-5)
        assert (one.tokens, one.bytes) == (len(ids) - 1, len(document.text.encode()))
        assert one.source == document.source


def test_end_to_end_is_what_is_measured_without_a_stride() -> None:
    plain = measure_likelihood(POLICY, read_documents(DOCUMENTS, BYTES, 16), BYTES)
    measured = measure_documents(POLICY, DOCUMENTS, BYTES, 16)
    assert sum(one.nats for one in measured) == pytest.approx(plain.nats, rel=1e-6)
    assert sum(one.tokens for one in measured) == plain.tokens
    assert sum(one.bytes for one in measured) == plain.bytes


def test_the_interval_is_that_of_documents() -> None:
    """All alike: no spread. Else the ratio's own standard error by the delta method, ± 15 %."""
    measured = measure_documents(POLICY, DOCUMENTS[:1] * 5, BYTES, 16)
    low, high = bound_bits(measured)
    assert low == pytest.approx(high)
    random = np.random.default_rng(4)
    size = random.integers(50, 150, 400)
    bits = size * random.normal(2.0, 0.5, 400)
    from fledge.evaluate.intervals import ratio_interval

    low, high = ratio_interval(bits.tolist(), size.astype(float).tolist())
    ratio = bits.sum() / size.sum()
    error = np.std(bits - ratio * size) / (math.sqrt(400) * size.mean())
    assert (high - low) / (2 * 1.96) == pytest.approx(error, rel=0.15)
