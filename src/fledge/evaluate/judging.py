"""How good a policy is at a task: greedy answers to held-out prompts, some kept as samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fledge.evaluate.judge import Figures, Judge
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.runs.folder import Run
from fledge.sample.conversing import Spoken, answer_task, read_text
from fledge.sample.generate import Completion
from fledge.score.unfinished import MOST
from fledge.score.verifier import Verifier
from fledge.splits import HELD_OUT, HeldOut
from fledge.tasks.conversed import Conversed, write_transcript
from fledge.tasks.named import Example, Task, draw_questions
from fledge.text.tokenizer import Tokenizer

KEPT = 12  # answers an evaluation writes to samples.jsonl


def judge_task(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    task: Task,
    examples: Sequence[Example],
    max_new_tokens: int,
    run: Run | None = None,
    step: int = 0,
    cut_reward: float = MOST,
) -> dict[str, float]:
    """exact_match and true_score (the dense one), means over greedy answers; with a run, some of
    them become samples.

    cut_reward: the most that an answer scores which never stopped, as in training.
    """
    greedy = policy.with_rule(Decoding(temperature=0))
    completions = answer_task(greedy, tokenizer, task, examples, max_new_tokens=max_new_tokens)
    texts = [read_text(tokenizer, completion) for completion in completions]
    marks = Verifier(task, cut_reward=cut_reward)(examples, completions, texts)
    if run is not None:
        shown = zip(
            examples, texts, completions, marks["reward"], marks["exact_match"], strict=True
        )
        for example, text, completion, score, exact in list(shown)[:KEPT]:
            row = {
                "step": step,
                "prompt": example.prompt,
                "completion": show_answer(task, example, text, completion),
                "score": score,
                "exact": bool(exact),
            }
            run.samples.write(
                row | ({"answer": example.answer} if example.answer is not None else {})
            )
    return {
        "exact_match": sum(marks["exact_match"]) / len(examples),
        "true_score": sum(marks["reward"]) / len(examples),
    }


def show_answer(task: Task, example: Example, text: str, completion: Completion) -> str:
    """The answer as a person reads it: of a conversation what was answered in it, too, or why its
    task did not answer.
    """
    if not isinstance(task, Conversed) or not isinstance(completion, Spoken):
        return text
    if completion.failed is None:
        return write_transcript(task, example, completion.said)
    # Not asked again about the turn that it failed on: that would cost as much, and count twice.
    *before, last = completion.said
    earlier = [write_transcript(task, example, before)] if before else []
    return "\n".join([*earlier, f"> {last}", str(completion.failed.failure)])


def draw_held_out(task: Task, number: int) -> dict[HeldOut, list[Example]]:
    """The questions of either part."""
    return {part: draw_questions(task, part, number) for part in HELD_OUT}


def judge_answers(
    policy: TokenPolicy,
    tokenizer: Tokenizer,
    task: Task,
    questions: Mapping[HeldOut, Sequence[Example]],
    max_new_tokens: int,
    run: Run,
    cut_reward: float = MOST,
) -> Judge:
    """By the share of questions answered right; some answers to those that steer are kept in the
    run. cut_reward: as for `judge_task`.
    """

    def read(part: HeldOut, step: int) -> Figures:
        keeper = run if part == "validation" else None
        return judge_task(
            policy, tokenizer, task, questions[part], max_new_tokens, keeper, step, cut_reward
        )

    items: dict[HeldOut, int] = {part: len(asked) for part, asked in questions.items()}
    return Judge(
        read, "exact_match", otherwise="true_score", items=items, what="prompt",
        apart=task.holds_out,
    )  # fmt: skip
