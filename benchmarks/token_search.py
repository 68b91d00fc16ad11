"""Whether searching over tokens helps a real model in easy word problems, and what it costs:
SmolLM2-135M-Instruct, which `make real` fetches.

    make real && python benchmarks/token_search.py --data FOLDER/word-problems.jsonl.gz

Four ways to answer: the likeliest token each time; the best of N answers that the model draws; the
best that `fledge sample search=mcts simulations=N` comes to, which draws N answers as well, each
from where PUCT looks next; and with `leaf=likeliest`, where N answers go on from there by the
likeliest tokens. Which is best is said by a verifier that knows no answer: an equation
has to stand there that is true, of two numbers of the question. Of the N that are drawn also by one
that knows the answer, and so finds all that there is to find. Among answers that are worth the same
the likeliest is taken. Right is what has the right number last and was not cut off.
"""

from __future__ import annotations

import gzip
import json
import operator
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from fledge.engine.engine import Engine
from fledge.engine.request import Completion
from fledge.evaluate.intervals import paired_difference, share_interval
from fledge.hub.folder import Loaded, load_model
from fledge.log_prob import PLAIN, Decoding
from fledge.sample.generate import generate
from fledge.sample.token_search import SearchPlan, make_search_engine, search_tokens
from fledge.text.asking import encode_prompt
from real_model import find_model
from real_results import HELD, NEW_TOKENS, Row, list_easy
from side_by_side import finish, options, say, table

QUESTIONS, LOOKS, AT_A_TIME = 30, 8, 30  # looks: N
BEFORE, AFTER = "Solve: ", "\nWrite one line: the equation and the result, nothing else."
NUMBER = r"(\d+(?:\.\d+)?)"
EQUATION = re.compile(rf"{NUMBER}\s*([-+*/x])\s*{NUMBER}\s*=\s*\$?{NUMBER}")
DO: dict[str, Callable[[float, float], float]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "x": operator.mul,
    "/": lambda a, b: a / b if b else float("nan"),
}  # fmt: skip

# a question, a text -> what the text is worth
Judge = Callable[[Row, str], float]


def read_numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(NUMBER, text.replace(",", ""))]


def check_equation(row: Row, text: str) -> float:
    """1 where some equation is true and both numbers that it begins with are in the question."""
    given = read_numbers(row["question"])
    return float(any(
        float(a) in given and float(b) in given and DO[sign](float(a), float(b)) == float(c)
        for a, sign, b, c in EQUATION.findall(text)
    ))  # fmt: skip


def check_answer(row: Row, text: str) -> float:
    said = read_numbers(text)
    return float(bool(said) and said[-1] == float(row["answer"]))


class Asked:
    """The questions as the model reads them, and what its answers are worth."""

    def __init__(self, model: Loaded, rows: Sequence[Row]) -> None:
        self.model, self.rows = model, rows
        self.prompts = [
            encode_prompt(model.tokenizer, f"{BEFORE}{row['question']}{AFTER}") for row in rows
        ]
        self.ends = frozenset(model.tokenizer.ends)
        self.read = 0  # tokens of prompts, by the engines of all that was asked last

    def judge(self, judge: Judge, place: int, said: Completion) -> float:
        """What was cut off is worth nothing."""
        return judge(self.rows[place], self.model.tokenizer.decode(said.tokens)) * said.stopped

    def draw(self, rule: Decoding, samples: int, seed: int) -> list[list[Completion]]:
        policy = self.model.policy().with_rule(rule)
        positions = max(map(len, self.prompts)) + NEW_TOKENS
        engine = Engine(policy, slots=64, positions=positions, precision="bf16")
        said = generate(
            policy, self.prompts, max_new_tokens=NEW_TOKENS, stop=self.ends, samples=samples,
            generator=torch.Generator().manual_seed(seed), engine=engine,
        )  # fmt: skip
        self.read = engine.batch.tokens_read
        return [said[i * samples : (i + 1) * samples] for i in range(len(self.rows))]

    def search(
        self, judge: Judge, simulations: int, seed: int, greedy: bool
    ) -> list[list[Completion]]:
        self.read, best = 0, []
        for first in range(0, len(self.rows), AT_A_TIME):
            some = self.prompts[first : first + AT_A_TIME]
            plan = SearchPlan(simulations, greedy=greedy)
            engine = make_search_engine(
                self.model.policy(), some, NEW_TOKENS, plan.leaves, precision="bf16"
            )
            best += search_tokens(
                engine, some,
                lambda places, said, first=first: [
                    self.judge(judge, first + i, one) for i, one in zip(places, said, strict=True)
                ],
                plan, max_new_tokens=NEW_TOKENS, stop=self.ends, seed=seed,
                numbers=range(first, first + len(some)),
            )  # fmt: skip
            self.read += engine.batch.tokens_read
        return [one.best[:1] for one in best]

    def choose(self, judge: Judge, said: Sequence[Sequence[Completion]]) -> list[Completion]:
        return [
            max(some, key=lambda one: (self.judge(judge, i, one), sum(one.raw_logp)))
            for i, some in enumerate(said)
        ]


def main() -> None:
    given = options(
        __doc__, data="word-problems.jsonl.gz", questions=f"how many, {QUESTIONS} unless given"
    )
    torch.set_num_threads(1)
    if not given.data:
        raise SystemExit("give --data, a .jsonl.gz of rows with `question` and `answer`")
    with gzip.open(given.data, "rt", encoding="utf-8") as lines:
        rows = list_easy(json.loads(line) for line in lines)[:HELD]
    rows = rows[: 2 if given.quick else int(given.questions or QUESTIONS)]
    asked = Asked(load_model(find_model()), rows)
    judges: dict[str, Judge] = {"a true equation": check_equation, "the answer": check_answer}
    shown, figures = [], {}
    greedy: list[float] = []

    def note(name: str, by: str, chosen: Sequence[Completion], seconds: float) -> None:
        right = [asked.judge(check_answer, i, one) for i, one in enumerate(chosen)]
        held = [asked.judge(check_equation, i, one) for i, one in enumerate(chosen)]
        if not greedy:
            greedy.extend(right)
        low, high = share_interval(sum(right), len(right))
        gain = paired_difference(greedy, right)
        figures[f"{name}, {by}"] = {
            "right": right, "held": held, "tokens_read": asked.read, "s": seconds,
            "gain_95": [gain.low, gain.high],
        }  # fmt: skip
        shown.append((
            name, by, f"{sum(right) / len(right):.1%}", f"{low:.0%} to {high:.0%}",
            f"{sum(held) / len(held):.1%}", f"{asked.read / len(right):,.0f}",
            f"{seconds / len(right):.2f}",
        ))  # fmt: skip
        say("  ".join(shown[-1]))

    def timed(ask: Callable[[], Any]) -> tuple[Any, float]:
        began = time.process_time()
        answer = ask()
        return answer, time.process_time() - began

    said, seconds = timed(lambda: asked.draw(Decoding(temperature=0), 1, 0))
    note("the likeliest", "–", [one[0] for one in said], seconds)
    say(f"{LOOKS} answers a question")
    said, seconds = timed(lambda: asked.draw(PLAIN, LOOKS, 1))
    for by, judge in judges.items():
        note(f"best of {LOOKS}", by, asked.choose(judge, said), seconds)
    say(f"mcts, {LOOKS} simulations")
    for greedy_leaves, name in ((False, f"mcts, {LOOKS}"), (True, f"mcts, {LOOKS}, likeliest")):
        said, seconds = timed(
            lambda greedy=greedy_leaves: asked.search(check_equation, LOOKS, 1, greedy)
        )
        note(name, "a true equation", [one[0] for one in said], seconds)
    header = (
        f"{len(rows)} questions", "best by", "right", "95 %", "a true equation",
        "prompt tokens read", "CPU s each",
    )  # fmt: skip
    finish(given.json, table(header, shown), {}, figures, {})


if __name__ == "__main__":
    main()
