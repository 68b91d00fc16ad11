"""What each rule of sampling leaves of a distribution, beside the same computed in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fledge.engine.request import Request
from fledge.engine.stages import Stage, list_stages
from fledge.log_prob import Decoding

LOGITS = np.array([2.0, 1.5, 1.0, -0.5, 0.2, -2.0, 0.9, -np.inf], dtype=np.float64)


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def keep(p: np.ndarray, inside: np.ndarray) -> np.ndarray:
    return np.where(inside, p, 0.0) / p[inside].sum()


def stages(request: Request, said: tuple[int, ...] = ()) -> list[Stage]:
    return list_stages(torch.tensor(LOGITS), request, said)


def test_each_rule_alone_is_what_a_hand_computes() -> None:
    p = softmax(LOGITS)
    order = np.argsort(-p)
    by_rule = {
        "temperature": (Decoding(temperature=0.5), softmax(LOGITS / 0.5)),
        "top-k": (Decoding(top_k=3), keep(p, np.isin(np.arange(8), order[:3]))),
        "min-p": (Decoding(min_p=0.3), keep(p, p >= 0.3 * p.max())),
    }
    count = int(np.searchsorted(np.cumsum(p[order]), 0.8)) + 1
    by_rule["nucleus"] = (Decoding(top_p=0.8), keep(p, np.isin(np.arange(8), order[:count])))
    assert 1 < count < 7
    for name, (rule, wanted) in by_rule.items():
        _, after = stages(Request([0], rule=rule))
        assert after.name.startswith(name)
        np.testing.assert_allclose(after.probability.numpy(), wanted, atol=1e-12)
        assert after.removed == pytest.approx(p[wanted == 0].sum(), abs=1e-12)
        assert after.kept == (wanted > 0).sum()
        inside = wanted[wanted > 0]
        assert after.entropy == pytest.approx(-(inside * np.log(inside)).sum(), abs=1e-12)


def test_penalties_come_first_and_see_what_was_there() -> None:
    request = Request([0, 3], repetition_penalty=2.0, presence_penalty=0.7)
    z = LOGITS.copy()
    z[0], z[3], z[2] = z[0] / 2, z[3] * 2, z[2] / 2  # positive ones divided, negative multiplied
    z[2] -= 0.7  # said, and not in the prompt
    model, after = stages(request, (2,))
    np.testing.assert_allclose(model.probability.numpy(), softmax(LOGITS), atol=1e-12)
    np.testing.assert_allclose(after.probability.numpy(), softmax(z), atol=1e-12)


def test_all_together_each_works_on_what_the_one_before_left() -> None:
    rule = Decoding(temperature=0.8, top_k=5, top_p=0.9, min_p=0.2)
    got = stages(Request([0], rule=rule))
    assert [stage.name for stage in got] == [
        "the model", "temperature 0.8", "top-k 5", "nucleus 0.9", "min-p 0.2"
    ]  # fmt: skip
    p = softmax(LOGITS / 0.8)
    np.testing.assert_allclose(got[1].probability.numpy(), p, atol=1e-12)
    p = keep(p, np.isin(np.arange(8), np.argsort(-p)[:5]))
    np.testing.assert_allclose(got[2].probability.numpy(), p, atol=1e-12)
    order = np.argsort(-p)
    count = int(np.searchsorted(np.cumsum(p[order]), 0.9)) + 1
    after = keep(p, np.isin(np.arange(8), order[:count]))
    assert got[3].removed == pytest.approx(p[after == 0].sum())
    p = keep(after, after >= 0.2 * after.max())
    np.testing.assert_allclose(got[4].probability.numpy(), p, atol=1e-12)
    for stage in got:
        assert float(stage.probability.sum()) == pytest.approx(1.0)


def test_greedy_leaves_one() -> None:
    _, after = stages(Request([0], rule=Decoding(temperature=0.0)))
    assert after.probability.tolist() == [1.0] + [0.0] * 7
    assert after.entropy == 0.0
