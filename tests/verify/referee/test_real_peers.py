"""TRL and transformers, where they are installed: every row's equation is the one its table names,
and a step through the trainer's own `train()` adds what the referee reads.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fledge.verify.referee.peers import select_hearings
from fledge.verify.referee.question import Step
from fledge.verify.referee.ruling import rule

pytest.importorskip("trl")
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("peer", ["trl:rloo", "trl:sft", "trl:dpo", "transformers:trainer"])
def test_a_gradient_is_the_same_at_every_padding_and_garbage(peer: str) -> None:
    for hearing in select_hearings(peer, {}):
        ruling = rule(hearing)
        assert ruling.equation, ruling
        assert max(ruling.padding, ruling.garbage, ruling.leak) < 1e-5, ruling


@pytest.mark.parametrize("peer", ["trl:grpo", "trl:rloo"])
def test_a_step_through_train_adds_what_the_referee_reads(peer: str) -> None:
    hearing = select_hearings(peer, {"beta": 0.0})[0]
    built: Any = hearing.build(hearing.problem)
    step = Step((0, 1, 5, 2, 2, 6), 2)
    answer = built.answer(step)
    trainer = built._trainer(6, 2, 1)
    before = trainer.model.lm_head.weight.detach().clone()
    trainer._step, trainer._buffered_inputs = 0, None
    trainer.args.max_steps, trainer.args.max_grad_norm = 1, 0.0
    trainer.args.save_strategy = "no"
    rate = torch.optim.SGD([trainer.model.lm_head.weight], lr=1.0)
    trainer.optimizer = rate
    trainer.lr_scheduler = torch.optim.lr_scheduler.ConstantLR(rate, 1.0)
    del trainer._prepare_inputs
    trainer.train()
    moved = (trainer.model.lm_head.weight.detach() - before)[:3]
    places = [0, 1, 2]  # (), (a,), (b,)
    assert torch.allclose(moved[:, places].T.double(), answer.gradient, rtol=1e-5, atol=1e-7)
