"""A language model in Python: text in, text out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack, cast, overload

import torch
from torch import Tensor

from fledge.cli.parsing import validate
from fledge.cli.verbs import VERBS
from fledge.engine.request import Request
from fledge.errors import UserError
from fledge.hub.families import family_of
from fledge.hub.folder import Loaded, load_model
from fledge.recipes.look.sample import SampleConfig, check, complete, make_request, spell
from fledge.rows.turns import Conversation
from fledge.runs.lineage import run_of
from fledge.text.chat import render
from fledge.text.tokenizer import Tokenizer
from fledge.trajectories import from_rows

Result = TypeVar("Result")
ROWS = 16  # of a forward pass, where several texts are measured


class Rules(TypedDict, total=False):
    """How a completion is drawn: the fields of `fledge sample`."""

    max_new_tokens: int
    min_new_tokens: int
    suffix: str
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    stop: str | Sequence[str]
    regex: str
    choices: Sequence[str]
    json_schema: Mapping[str, Any] | str | Path
    grammar: str | Path
    best_of: int
    beams: int
    length_penalty: float
    lookup: bool
    draft: str | Path
    ahead: int
    precision: str
    seed: int
    raw: bool


class Model:
    """A language model π(x_t | x_<t) with its tokenizer, as `fledge.load` gives it.

    network is the torch module; folder, where it was read.
    """

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded

    @property
    def network(self) -> Any:
        """The torch module. Whoever trains it by hands of their own has a model that its folder
        does not hold any more; the verbs notice, and keep a copy in their run.
        """
        return self.loaded.network

    @property
    def tokenizer(self) -> Tokenizer:
        return self.loaded.tokenizer

    @property
    def folder(self) -> Path:
        return self.loaded.folder

    @property
    def context(self) -> int:
        """Tokens, prompt and completion together."""
        return self.network.config.context

    @property
    def parameters(self) -> int:
        return sum(weight.numel() for weight in self.network.parameters())

    @overload
    def generate(self, prompt: str, **rules: Unpack[Rules]) -> str: ...
    @overload
    def generate(self, prompt: str, *, samples: int, **rules: Unpack[Rules]) -> list[str]: ...
    @overload
    def generate(
        self, prompt: list[str], *, samples: int = ..., **rules: Unpack[Rules]
    ) -> list[Any]: ...
    def generate(
        self, prompt: str | Sequence[str], *, samples: int | None = None, **rules: Any
    ) -> Any:
        """What the model answers to a prompt, or, with raw=True, how it goes on with the text.

        Fields as of `fledge sample`: max_new_tokens=128, temperature=1.0 (0 is greedy), top_k,
        top_p, min_p, stop, best_of, beams, seed=0, …, and one of regex, choices, json_schema and
        grammar, which bind what is said. One prompt gives a text; with
        samples=n a list of n; several prompts give a list with one of these for each, drawn in one
        batch. Raises UserError for a prompt that leaves no room in the context.
        """
        prompts = list_texts(prompt, "prompt")
        config = self._read(rules | ({} if samples is None else {"samples": samples}))
        drawn = max(config.samples, config.best_of)
        requests = [
            replace(make_request(config.model_copy(update={"prompt": each}), self.loaded), sample=i)
            for i, each in zip(range(0, drawn * len(prompts), drawn), prompts, strict=True)
        ]
        said = self._say(config, requests)
        texts = said if samples is not None else [one for [one] in said]
        return texts[0] if isinstance(prompt, str) else texts

    def chat(self, messages: Sequence[Any], **rules: Unpack[Rules]) -> str:
        """The assistant's next turn. messages: [{"role": "user", "content": "…"}, …].

        Fields as of `generate`; greedy, and up to 256 tokens, unless they say otherwise.
        """
        config = self._read({"temperature": 0.0, "max_new_tokens": 256, **rules})
        turns = cast(Conversation, list_turns(messages))
        ids, _ = render(self.tokenizer, turns, reply=True)
        [[text]] = self._say(config, [replace(make_request(config, self.loaded), prompt=ids)])
        return text

    def log_prob(
        self, text: str | Sequence[str], completion: str | Sequence[str] | None = None
    ) -> Any:
        """log π(text) = Σ_t log π(x_t | x_<t) in nats, of running text; with a completion, log π of
        it as the answer to the prompt `text`, its end included. Several give a list.
        """
        alone = isinstance(text, str)
        texts = list_texts(text, "text")
        if completion is None:
            rows, own = self._open(texts)
        else:
            answers = list_texts(completion, "completion")
            if len(answers) != len(texts):
                raise UserError(
                    f"{len(texts)} prompts came with {len(answers)} completions: give one for each."
                )
            rows, own = [], []
            for asked, answer in zip(texts, answers, strict=True):
                ids, chosen = render(self.tokenizer, build_exchange(asked, answer))
                rows.append(ids)
                own.append(chosen)
        sums = self._measure(rows, own, self._sum_log_probs)
        return float(sums[0]) if alone else [float(each) for each in sums]

    def embed(self, text: str | Sequence[str]) -> Tensor:
        """The mean over a text's tokens of what the last layer says, (1/T) Σ_t h_t: [D]; of
        several, [N, D].
        """
        texts = [text] if isinstance(text, str) else list(text)
        rows, own = self._open(texts)
        measured = torch.stack(self._measure(rows, own, self._mean_hidden))
        return measured[0] if isinstance(text, str) else measured

    def save(self, folder: str | Path) -> Path:
        """Write it in Hugging Face's layout: `transformers` loads it where it knows the family."""
        self.loaded.save(Path(folder))
        return Path(folder)

    def is_as_saved(self) -> bool:
        """Whether its folder still holds these very weights."""
        try:
            saved = load_model(self.folder).network.state_dict()
        except UserError:
            return False
        now = self.network.state_dict()
        return saved.keys() == now.keys() and all(
            torch.equal(saved[name], now[name].cpu()) for name in saved
        )

    def __repr__(self) -> str:
        return (
            f"Model({family_of(self.network).name}, {self.parameters / 1e6:.2f} M parameters, "
            f"{self.tokenizer.kind} tokenizer of {self.tokenizer.vocab_size:,} tokens, context "
            f"{self.context:,}, from {run_of(self.folder)})"
        )

    def _read(self, rules: dict[str, Any]) -> SampleConfig:
        config = validate("sample", VERBS["sample"], {"base": self.folder, **rules})
        check(config)
        return config

    def _say(self, config: SampleConfig, requests: list[Request]) -> list[list[str]]:
        """The texts of each request."""
        answered, _ = complete(config, self.loaded, requests)
        return [
            [spell(self.tokenizer, one, config.stop) for one in several] for several in answered
        ]

    def _open(self, texts: Sequence[str]) -> tuple[list[list[int]], list[list[bool]]]:
        """Running texts as documents are opened, and for each token whether it is the text's."""
        if "" in texts:
            raise UserError("an empty text was given, which has no tokens: give some text.")
        opening = self.tokenizer.opening
        said = [self.tokenizer.encode(text) for text in texts]
        own = [[False] * len(opening) + [True] * len(ids) for ids in said]
        return [[*opening, *ids] for ids in said], own

    def _measure(
        self,
        rows: list[list[int]],
        own: list[list[bool]],
        measure: Callable[[Any], Sequence[Result]],
    ) -> list[Result]:
        """Of each row a result, some rows at a time. Raises UserError for one beyond the
        context.
        """
        longest = max((len(row) for row in rows), default=0)
        if longest > self.context:
            raise UserError(
                f"a text of {longest:,} tokens was given, and the model's context is "
                f"{self.context:,}: shorten it, or cut it in pieces."
            )
        measured: list[Result] = []
        with torch.no_grad():
            for a in range(0, len(rows), ROWS):
                measured += measure(from_rows(rows[a : a + ROWS], own[a : a + ROWS]))
        return measured

    def _sum_log_probs(self, batch: Any) -> list[Tensor]:
        policy = self.loaded.policy()
        return list(policy.log_prob(batch.obs, batch.action, batch.chosen).double().sum(1))

    def _mean_hidden(self, batch: Any) -> list[Tensor]:
        hidden = self.loaded.policy().hidden(batch.obs)[:, 1:]  # [B, T, D]
        own = batch.chosen[..., None].to(hidden)  # which of the tokens are the text's
        return list((hidden * own).sum(1) / own.sum(1))


def build_exchange(prompt: str, answer: str) -> Conversation:
    """One question and what is said to it."""
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def list_texts(given: Any, name: str) -> list[str]:
    """One text or several. Raises UserError for what is neither, and for none."""
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, Sequence) or not all(isinstance(each, str) for each in listed):
        raise UserError(f"{name}={str(given)[:40]!r} was given: give a text, or a list of texts.")
    if not listed:
        raise UserError(f"{name} is an empty list: give one text or more.")
    return list(listed)


def list_turns(messages: Any) -> list[Any]:
    """Raises UserError for what is no conversation."""
    wanted = '[{"role": "user", "content": "…"}]'
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence):
        raise UserError(f"messages={str(messages)[:40]!r} was given: give a list, as {wanted}.")
    for turn in messages:
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            raise UserError(f"a message is {str(turn)[:60]}: give one with its role, as {wanted}.")
    return list(messages)
