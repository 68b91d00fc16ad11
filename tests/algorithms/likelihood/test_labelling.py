"""The losses of an encoder that is tuned, against torch's own on whole padded batches: the same
gradient however a step is cut, and padding and order change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fledge.algorithms.likelihood.contrastive import Contrastive, find_same, info_nce
from fledge.algorithms.likelihood.labelling import Labelling
from fledge.learner import Learner
from fledge.models.language.encoder import Encoder, EncoderConfig, average, with_classifier
from fledge.models.language.encoder_config import Classifier
from fledge.optimizers import Recorder
from fledge.sample.sentences import (
    Encoded,
    stack_choices,
    stack_labelled,
    stack_pairs,
    stack_tagged,
)
from fledge.schedule import Schedule
from fledge.score.labels import score_labels
from fledge.stopwatch import Stopwatch
from fledge.trajectories import Rows
from tests.subjects import Gradients, learner, seeded

LENGTHS = (3, 9, 5, 5, 12, 4)


def encoder(kind: Classifier, labels: tuple[str, ...] = ()) -> Encoder:
    config = EncoderConfig(vocab_size=13, context=16, layers=2, width=16, heads=2)
    made = Encoder(config, generator=seeded(0)).double()
    return with_classifier(made, kind, labels, seeded(1)).double()


def sentences(seed: int) -> list[Encoded]:
    draw = seeded(seed)
    made = []
    for length in LENGTHS:
        ids = torch.randint(1, 13, (length,), generator=draw).tolist()
        made.append(Encoded(tuple(ids), tuple(int(t > length // 2) for t in range(length))))
    return made


def hidden(network: Encoder, row: Encoded) -> Tensor:
    """Of one row alone: [1, T, D]."""
    return network(torch.tensor([row.ids]), None, torch.tensor([row.types]))


def of_labels() -> tuple[Encoder, Rows, Tensor]:
    network, rows, labels = encoder("sequence", ("a", "b", "c")), sentences(2), [0, 2, 1, 1, 0, 2]
    alone = torch.cat([network.class_logits(hidden(network, row)) for row in rows])
    loss = F.cross_entropy(alone, torch.tensor(labels))
    return network, stack_labelled(list(zip(rows, labels, strict=True))), loss


def of_words() -> tuple[Encoder, Rows, Tensor]:
    """A third of the tokens has a tag; the mean is over those of all rows, not row by row."""
    network, rows = encoder("token", ("a", "b")), sentences(3)
    tags = [tuple(t % 2 if t % 3 == 1 else -1 for t in range(len(row))) for row in rows]
    alone = torch.cat([network.tag_logits(hidden(network, row))[0] for row in rows])
    loss = F.cross_entropy(alone, torch.tensor(sum(tags, ())), ignore_index=-1)
    return network, stack_tagged(list(zip(rows, tags, strict=True))), loss


def of_choices() -> tuple[Encoder, Rows, Tensor]:
    """Three choices, then two, then one that leaves nothing to learn."""
    network, rows = encoder("choice", ("",)), sentences(4)
    parts, answers = (rows[:3], rows[3:5], rows[5:]), (2, 0, 0)
    losses = []
    for part, answer in zip(parts, answers, strict=True):
        scores = torch.cat([network.class_logits(hidden(network, row)) for row in part])[:, 0]
        losses.append(-scores.log_softmax(0)[answer])
    stacked = [
        (max(part, key=len), tuple(part), answer)
        for part, answer in zip(parts, answers, strict=True)
    ]
    return network, stack_choices(stacked), torch.stack(losses).mean()


def of_pairs() -> tuple[Encoder, Rows, Tensor]:
    """Two beginnings of the vector; two rows have the same partner, which is no negative then."""
    network, ones, others = encoder(""), sentences(5), sentences(6)
    others[3] = others[2]
    vectors = [
        torch.cat([average(hidden(network, row)) for row in side]).double()
        for side in (ones, others)
    ]
    losses = []
    for size in (16, 4):
        a, b = (F.normalize(side[:, :size], dim=-1) for side in vectors)
        scores = a @ b.T / 0.1
        scores[2, 3] = scores[3, 2] = -torch.inf
        losses.append(F.cross_entropy(scores, torch.arange(6)))
    rows = [(max(pair, key=len), *pair) for pair in zip(ones, others, strict=True)]
    return network, stack_pairs(rows), torch.stack(losses).mean()


def algorithm_of(network: Encoder, rows: Learner) -> Any:
    if network.config.classifier:
        return Labelling(network, rows, Stopwatch())
    return Contrastive(network, rows, Stopwatch(), temperature=0.1, dimensions=(16, 4))


@pytest.mark.parametrize("subject", [of_labels, of_words, of_choices, of_pairs])
@pytest.mark.parametrize("cut", [{}, {"rows_per_micro_batch": 1}, {"tokens_per_micro_batch": 14}])
def test_loss_and_gradient_are_those_of_the_whole_step(subject: Any, cut: dict[str, int]) -> None:
    network, batch, loss = subject()
    loss.backward()
    wanted = {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
    network.zero_grad()
    own = learner(network, **cut)
    gradients = Gradients(own)
    figures = algorithm_of(network, own).update(batch)
    assert figures["loss"] == pytest.approx(loss.item(), rel=1e-9)
    got = dict(zip(wanted, gradients.flat.split([g.numel() for g in wanted.values()]), strict=True))
    for name, gradient in wanted.items():
        torch.testing.assert_close(
            got[name].view_as(gradient), gradient, rtol=1e-8, atol=1e-11, msg=name
        )


def test_what_is_no_negative() -> None:
    """Rows 0 and 1 have one partner, row 2's partner is the text of row 0, and rows 3, 4 ask the
    same.
    """
    same = find_same(torch.tensor([0, 1, 2, 3, 3]), torch.tensor([5, 5, 0, 6, 7]))
    assert same.nonzero().tolist() == [[0, 1], [0, 2], [1, 0], [3, 4], [4, 3]]


def test_a_perfect_match_costs_what_its_temperature_leaves() -> None:
    """Vectors at right angles: log(1 + (B − 1) e^(−1/τ)), and where nothing is a negative 0."""
    vectors = 3 * torch.eye(4, dtype=torch.float64)
    none = torch.zeros(4, 4, dtype=torch.bool)
    wanted = torch.tensor(1 + 3 * 2.718281828459045 ** (-1 / 0.5)).log().double()
    torch.testing.assert_close(info_nce(vectors, vectors, none, 0.5), wanted.expand(4))
    alone = ~torch.eye(4, dtype=torch.bool)
    assert info_nce(vectors, vectors, alone, 0.5).abs().max() == 0


@pytest.mark.parametrize("make", [of_labels, of_words, of_choices])
def test_dropout_is_a_function_of_the_row_however_a_step_is_cut(make: Callable[[], Any]) -> None:
    """And of the step: the next one drops others. A network that is asked and not trained drops
    nothing.
    """
    gradients: list[Tensor] = []
    for cut in (None, 2, 1):
        network, rows, _ = make()
        plain = score_labels(network.eval(), rows)
        network.use_dropout(0.3)
        assert torch.equal(score_labels(network, rows), plain)
        recorders: list[Recorder] = []

        def record(named: Any, _: float, kept: list[Recorder] = recorders) -> Recorder:
            kept.append(Recorder([p for _, p in named]))
            return kept[-1]

        learns = Learner(
            network, Schedule(1e-9, 5), optimizer=record,
            clip=0.0, rows_per_micro_batch=cut, seed=3,
        )  # fmt: skip
        algorithm = Labelling(network, learns, Stopwatch())
        for _ in range(2):
            algorithm.update(rows)  # pyright: ignore[reportArgumentType]
        assert not network.training
        first, second = (torch.cat([x.flatten() for x in taken]) for taken in recorders[0].taken)
        assert not torch.allclose(first, second, atol=1e-4)
        gradients += [torch.cat([first, second])]
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], atol=1e-12, rtol=1e-9)
