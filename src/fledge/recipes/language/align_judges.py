"""Who judges the answers of `fledge align`: while it learns a verifier or a reward model, and in an
evaluation, whose best checkpoint is kept, greedy answers and the distance from the base.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fledge.errors import UserError
from fledge.evaluate.distance import judge_distance
from fledge.evaluate.judge import Figures, Judge
from fledge.evaluate.judging import draw_held_out, judge_answers
from fledge.evaluate.likelihood import measure_held_out_loss
from fledge.hub.folder import Loaded, load_reward_model
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.recipes.course import Course
from fledge.recipes.language.align_fields import AlignConfig
from fledge.recipes.language.large_defaults import count_kl_answers
from fledge.recipes.training import count_parameters
from fledge.runs.show import Show
from fledge.score.reward_model import RewardModelScore
from fledge.score.verifier import Verifier
from fledge.splits import HeldOut
from fledge.tasks.named import Task
from fledge.text.shards import TokenStream

GREEDY_SCORE = "greedy_true_score"  # of an evaluation


def load_scorer(
    path: Path, base: Loaded, truth: Verifier, config: AlignConfig, show: Show
) -> RewardModelScore:
    """The reward model's score, scaled as it says; one of others says nothing, and is taken as it
    is. Raises UserError if it reads other tokens than the policy
    writes.
    """
    model, loaded = load_reward_model(path)
    if loaded.tokenizer.fingerprint() != base.tokenizer.fingerprint():
        raise UserError(
            f"the reward model {path} has another tokenizer than {config.base}: train it on the "
            "same base."
        )
    model = model.to(config.on()).requires_grad_(False).eval()
    scale = loaded.config.get("fledge_reward")
    if scale is None:
        show.line(f"{path} says nothing of the scale of its scores: they are taken as they are.")
        scale = {"mean": 0.0, "std": 1.0}
    return RewardModelScore(
        model, mean=scale["mean"], std=scale["std"], truth=truth, cut_reward=config.cut_reward
    )


def make_judges(
    config: AlignConfig,
    course: Course,
    policy: TokenPolicy,
    reference: TokenPolicy,
    base: Loaded,
    task: Task,
    mixes: bool,
) -> list[Judge]:
    """Of greedy answers, by which checkpoints are ranked; of the distance from the base; and of
    the text that is mixed in.
    """
    questions = draw_held_out(task, config.evaluation_prompts)
    answers = judge_answers(
        policy, base.tokenizer, task, questions, config.max_new_tokens, course.run,
        config.cut_reward,
    )  # fmt: skip

    def read(part: HeldOut, step: int) -> Figures:
        figures = answers.read(part, step)
        if part == "test":
            return figures
        # `true_score` is logged at every step, of answers that were sampled
        return {"exact_match": figures["exact_match"], GREEDY_SCORE: figures["true_score"]}

    def read_text(part: HeldOut, step: int) -> Figures:
        if part == "test":
            return {}
        stream, context = (
            TokenStream(course.run.folder / "shards", part),
            base.network.config.context,
        )
        plain = policy.with_rule(Decoding()).bind(None)
        return {
            "validation_loss": measure_held_out_loss(
                plain, stream, base.tokenizer, min(256, context), 32
            )[0]
        }

    distance = judge_distance(
        policy, reference, base.tokenizer, task, config.max_new_tokens, config.seed, "kl_exact",
        count_kl_answers(count_parameters(base.network)),
    )  # fmt: skip
    greedy = Judge(
        read, ranks="exact_match", items=answers.items, what=answers.what, apart=answers.apart
    )
    return [greedy, distance, *([Judge(read_text)] if mixes else [])]


def choose_figure(*figures: Mapping[str, float]) -> str:
    """The share of right answers, or the mean score where none was right: a judge may give points
    and call nothing right.
    """
    return "exact_match" if any(each["exact_match"] for each in figures) else GREEDY_SCORE
