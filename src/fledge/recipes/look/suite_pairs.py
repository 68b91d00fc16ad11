"""`fledge evaluate suite=prompts against=… judge=…`: whose answers are better."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from fledge.errors import UserError
from fledge.evaluate.suites.pairwise import Prefer, ask_model, compare_scores, judge_both_orders
from fledge.evaluate.suites.suite import Asked
from fledge.hub.folder import Loaded, load_any, load_reward_model
from fledge.micro_batches import cut_in_order
from fledge.recipes.look.sound_model import load_sound_model
from fledge.recipes.look.suite_fields import EvaluateSuiteConfig
from fledge.recipes.look.suite_model import answer_all
from fledge.runs.show import Show
from fledge.text.chat import render
from fledge.trajectories import from_rows


def evaluate_pairs(
    config: EvaluateSuiteConfig, model: Loaded, asked: Asked, show: Show
) -> dict[str, Any]:
    """Each prompt answered by both, and judged in both orders."""
    assert config.against is not None
    assert config.judge is not None
    ours = [one[0].text for one in answer_all(config, model, asked)]
    other = load_sound_model(config.against)
    theirs = [one[0].text for one in answer_all(config, other, asked)]
    prefer, kind = load_judge(config.judge, chat=config.chat)
    prompts = [question.prompt for question in asked.questions]
    won = judge_both_orders(prefer, prompts, ours, theirs)
    show.line(
        f"{config.base} wins {won.rate:.1%} against {config.against} ({won.low:.1%} to "
        f"{won.high:.1%} at 95 %): {won.wins} prompts won, {won.ties} tied, {won.losses} lost, "
        f"each judged in both orders by {kind} {config.judge}"
    )
    if kind != "the reward model":
        show.line(
            f"the judge preferred what stood first in {won.first:.0%} of its verdicts, and the "
            f"order decided on {won.swayed:.0%} of the prompts"
        )
    if config.details is not None:
        rows = zip(prompts, ours, theirs, strict=True)
        text = "".join(
            json.dumps({"prompt": p, "ours": a, "theirs": b}, ensure_ascii=False) + "\n"
            for p, a, b in rows
        )
        config.details.write_text(text, encoding="utf-8")
    return {
        "base": str(config.base), "against": str(config.against), "judge": str(config.judge),
        "suite": config.suite, "questions": len(prompts), "win_rate": won.rate, "low": won.low,
        "high": won.high, "wins": won.wins, "ties": won.ties, "losses": won.losses,
        "first_preferred": won.first, "swayed_by_order": won.swayed,
    }  # fmt: skip


def load_judge(path: Path, *, chat: bool) -> tuple[Prefer, str]:
    """A judge, and what it is."""
    _, head = load_any(path)
    if head is None:
        model = load_sound_model(path)
        return ask_model(model.policy(), model.tokenizer, chat=chat), "the model"
    reward, loaded = load_reward_model(path)
    reward = reward.eval()

    @torch.no_grad()
    def score(prompts: Sequence[str], answers: Sequence[str]) -> list[float]:
        rows = [
            render(
                loaded.tokenizer,
                [{"role": "user", "content": p}, {"role": "assistant", "content": a or " "}],
            )
            for p, a in zip(prompts, answers, strict=True)
        ]
        longest = max(len(ids) for ids, _ in rows)
        if longest > reward.network.config.context:
            raise UserError(
                f"a prompt and its answer have {longest:,} tokens, and the context of {path} is "
                f"{reward.network.config.context:,}: lower max_new_tokens."
            )
        scores: list[float] = []
        for part in cut_in_order(len(ids) for ids, _ in rows):
            batch = from_rows([ids for ids, _ in rows[part]], [own for _, own in rows[part]])
            scores += reward.score(batch.obs, batch.last()).tolist()
        return scores

    return compare_scores(score), "the reward model"
