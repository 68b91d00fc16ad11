"""A model of fledge's for EleutherAI's lm-evaluation-harness: its tasks, asked of our engine.

`python -m fledge.evaluate.harness --model fledge --model_args base=runs/tune --tasks arc_easy`
takes what `lm_eval` does; in Python, `lm_eval.simple_evaluate(model=FledgeModel("runs/tune"))`.
https://github.com/EleutherAI/lm-evaluation-harness
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# before ours is registered: the harness lists its own models only where it has listed none
import lm_eval.models  # noqa: F401  # pyright: ignore[reportMissingImports]
from lm_eval.api.model import LM  # pyright: ignore[reportMissingImports]
from lm_eval.api.registry import register_model  # pyright: ignore[reportMissingImports]
from lm_eval.utils import (  # pyright: ignore[reportMissingImports]
    get_rolling_token_windows,
    make_disjoint_window,
)

from fledge.evaluate.suites.answering import say
from fledge.evaluate.suites.beginnings import Row
from fledge.evaluate.suites.choosing import AT_A_TIME, measure_rows
from fledge.hub.folder import load_model
from fledge.log_prob import Decoding
from fledge.text.chat import render

MOST = 256  # tokens of an answer, where a task says nothing


@register_model("fledge")
class FledgeModel(LM):
    """base: a run, a model folder or a .gguf file. tokens_at_a_time: of a forward pass."""

    def __init__(
        self, base: str | Path, tokens_at_a_time: int = AT_A_TIME, **_ignored: Any
    ) -> None:
        super().__init__()
        self.loaded = load_model(Path(base))
        self.policy, self.tokenizer = self.loaded.policy(), self.loaded.tokenizer
        self.context: int = self.loaded.network.config.context
        self.at_a_time = int(tokens_at_a_time)
        self.templated = False

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(Σ log π of the continuation, whether greedy decoding says it) of each."""
        rows = [self._encode_pair(*request.args) for request in requests]
        return measure_rows(self.policy, rows, self.at_a_time)

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Σ log π of all tokens of a text, behind what opens one, in windows of the context."""
        rows: list[Row] = []
        counts: list[int] = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.tokenizer.encode(request.args[0]),
                prefix_token=self.tokenizer.opening[0],
                max_seq_len=self.context,
                context_len=1,
            )
            pairs = [make_disjoint_window(window) for window in windows]
            rows += [Row([*before, *said], len(before)) for before, said in pairs]
            counts.append(len(pairs))
        nats = [each for each, _ in measure_rows(self.policy, rows, self.at_a_time)]
        ends = [sum(counts[: i + 1]) for i in range(len(counts))]
        return [sum(nats[end - n : end]) for end, n in zip(ends, counts, strict=True)]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Requests with the same settings go through the engine side by side."""
        answers: dict[int, str] = {}
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(read_settings(request.args[1]), []).append(place)
        for (most, rule, stops), places in groups.items():
            said = say(
                self.policy,
                self.tokenizer,
                [self.encode(requests[place].args[0]) for place in places],
                [stops] * len(places),
                max_new_tokens=min(most, self.context // 2),  # the question has room too
                rule=rule,
                shared=True,
            )
            answers |= {place: one.text for place, one in zip(places, said, strict=True)}
        return [answers[place] for place in range(len(requests))]

    def apply_chat_template(
        self, chat_history: list[Any], add_generation_prompt: bool = True
    ) -> str:
        """The conversation as text, special tokens by their spelling; they are read back as such
        from now on.
        """
        self.templated = True
        ids, _ = render(self.tokenizer, chat_history, reply=add_generation_prompt)
        spelled = {token: text for text, token in self.tokenizer.special_tokens.items()}
        words = self.tokenizer.vocabulary
        text = b"".join(spelled[i].encode() if i in spelled else words[i] for i in ids)
        return text.decode(errors="replace")

    @property
    def tokenizer_name(self) -> str:
        return self.tokenizer.fingerprint()

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """As its name in the harness' results."""
        return f"that of {self.loaded.source}" if chat_template else ""

    def encode(self, text: str) -> list[int]:
        """A text behind what opens it; of one by the chat template its special tokens too."""
        if not self.templated:
            return self.tokenizer.open_text(text)
        known = self.tokenizer.special_tokens
        parts = re.split("(" + "|".join(map(re.escape, known)) + ")", text) if known else [text]
        ids: list[int] = []
        for part in parts:
            ids += [known[part]] if part in known else self.tokenizer.encode(part)
        return ids

    def _encode_pair(self, context: str, continuation: str) -> Row:
        """Blanks at the end of the context belong to the continuation, as tokens have them."""
        blanks = len(context) - len(context.rstrip())
        if blanks:
            context, continuation = context[:-blanks], context[-blanks:] + continuation
        whole, start = self.encode(context + continuation), len(self.encode(context))
        if not start:
            whole, start = [*self.tokenizer.opening, *whole], len(self.tokenizer.opening)
        start = min(start, len(whole) - 1)
        gone = max(0, len(whole) - (self.context + 1))
        return Row(whole[gone:], max(1, start - gone))


def read_settings(given: Mapping[str, Any]) -> tuple[int, Decoding, tuple[str, ...]]:
    """Tokens at the most, the rule, and what ends an answer, in the harness' words."""
    until = given.get("until") or []
    stops = (until,) if isinstance(until, str) else tuple(each for each in until if each)
    most = int(given.get("max_gen_toks", given.get("max_tokens", MOST)))
    temperature = float(given.get("temperature") or 0.0) if given.get("do_sample", True) else 0.0
    top_k, top_p = int(given.get("top_k") or 0), float(given.get("top_p") or 1.0)
    return most, Decoding(temperature, top_k, top_p), stops


if __name__ == "__main__":
    from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]

    cli_evaluate()
