"""`fledge sample`: completions of a prompt, by sampling under any of the engine's rules, by beam
search, or from a server.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from fledge.engine.beam import Hypothesis, beam_search
from fledge.engine.best_of import rank
from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.engine.outside import OutsideEngine
from fledge.engine.request import Completion, Request
from fledge.engine.speculative import Speculator
from fledge.engine.stop_strings import cut
from fledge.errors import UserError
from fledge.hub.folder import Loaded, load_model
from fledge.log_prob import Decoding
from fledge.policy import TokenPolicy
from fledge.recipes.constraint_fields import ConstraintFields, Texts
from fledge.recipes.family_field import FamilyField
from fledge.recipes.look.sample_pictures import (
    SamplePicturesConfig,
    find_picture_folder,
    sample_pictures,
)
from fledge.recipes.look.sample_sentences import (
    SampleSentencesConfig,
    SentenceFields,
    find_sentence_folder,
    sample_sentences,
)
from fledge.recipes.look.search_fields import SearchFields
from fledge.recipes.look.sound_model import load_sound_model
from fledge.runs.show import Show
from fledge.sample.token_search import Searched
from fledge.tasks.examples import Example
from fledge.tasks.named import load_task
from fledge.tasks.python_task import PythonTask
from fledge.tasks.python_world import PythonWorld
from fledge.text.asking import encode_prompt
from fledge.text.infilling import find_infilling
from fledge.text.tokenizer import Tokenizer


class SampleConfig(ConstraintFields, SearchFields, FamilyField):
    """Complete a prompt, several times: as an answer in a conversation, or (raw) as running
    text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder that speaks")
    prompt: str = Field(default="", description="what it is given")
    raw: bool = Field(
        default=False, description="continue the prompt as text, without the chat template"
    )
    suffix: str | None = Field(
        default=None,
        description="what stands after: the middle is written, by a model trained with "
        "objective=fim or another's that knows the same tokens",
    )
    samples: int = Field(default=1, ge=1, description="how many completions")
    max_new_tokens: int = Field(default=128, ge=1, description="of each")
    min_new_tokens: int = Field(default=0, ge=0, description="no end before these")
    temperature: float = Field(default=1.0, ge=0, description="0 is greedy")
    top_k: int = Field(default=0, ge=0, description="0 keeps every token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus mass")
    min_p: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drops tokens less than this times as likely as the likeliest",
    )
    repetition_penalty: float = Field(
        default=1.0,
        gt=0,
        description="divides positive logits of tokens that were there, multiplies negative ones",
    )
    presence_penalty: float = Field(
        default=0.0, description="taken from the logits of tokens that were said"
    )
    stop: Texts = Field(
        default=(), description='text that ends a completion, and is not shown; or ["one", "two"]'
    )
    alternatives: int = Field(
        default=0, ge=0, description="with --json: how many likely tokens to tell of at each step"
    )
    best_of: int = Field(
        default=1, ge=1, description="sample this many, keep the `samples` likeliest of them"
    )
    beams: int = Field(
        default=1,
        ge=1,
        description="more than 1: beam search of this width; `samples` are the best of it",
    )
    length_penalty: float = Field(
        default=1.0, description="of beam search: log-probability / length to this power ranks"
    )
    lookup: bool = Field(
        default=False,
        description="speculative decoding, guessing what followed the same words before",
    )
    draft: Path | None = Field(
        default=None, description="speculative decoding, guessing by this smaller model"
    )
    ahead: int = Field(
        default=4, ge=1, description="tokens guessed at a time (with lookup or draft)"
    )
    task: str | None = Field(
        default=None,
        description="search: ./mine.py, whose score(prompt, completion) says what one is worth",
    )
    precision: Generation = Field(default="fp32", description="of the weights as they generate")
    server: str | None = Field(
        default=None,
        description=(
            "http://…: an OpenAI-compatible server (vLLM) that speaks for base; base gives the "
            "tokenizer"
        ),
    )
    served_model: str | None = Field(
        default=None, description="what the server calls it; by default the only one it has"
    )
    seed: int = Field(default=0, ge=0, description="of the draws")

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> Any:
        """The fields of what the base says: a text, pictures, or sentences out of vectors."""
        if find_sentence_folder(given.get("base")) is not None:
            return SampleSentencesConfig
        folder = find_picture_folder(given.get("base"))
        return cls if folder is None else SamplePicturesConfig.compose_for(folder)


def sample(
    config: SampleConfig | SamplePicturesConfig | SentenceFields, show: Show
) -> dict[str, Any]:
    """Raises UserError for a prompt that leaves no room in the context, and for settings that
    contradict each other.
    """
    if isinstance(config, SamplePicturesConfig):
        return sample_pictures(config, show)
    if isinstance(config, SentenceFields):
        return sample_sentences(config, show)
    check(config)
    # of a server's model the folder gives no more than the tokenizer
    config.use_family()
    model = load_model(config.base) if config.server else load_sound_model(config.base)
    tokenizer = model.tokenizer
    request = make_request(config, model)
    if not config.prompt and show.console.is_terminal:  # into a pipe goes what was said, alone
        what = "the beginning of a text" if config.raw else "an empty message of the user's"
        show.line(f"(no prompt was given: this goes on from {what}; prompt=… gives one)")
    began = time.perf_counter()
    [completions], figures = complete(config, model, [request])
    seconds = time.perf_counter() - began
    if figures.get("unfinished"):
        show.line(
            f"(no end within simulations={config.simulations} and max_new_tokens="
            f"{config.max_new_tokens}: this is how far the search came)"
        )
    said = []
    for one in completions:
        text = spell(tokenizer, one, config.stop)
        told = {
            "completion": text,
            "tokens": len(one.tokens),
            "ended": one.ended,
            "logp": sum(one.logp),
            "raw_logp": sum(one.raw_logp),
        }
        if isinstance(one, Hypothesis | Searched):
            told["score"] = one.score
        if config.alternatives:
            told["alternatives"] = [
                [(tokenizer.decode([t]), logp) for t, logp in step] for step in one.alternatives
            ]
        said.append(told)
        mark = f"{one.score:.3f}" if isinstance(one, Hypothesis | Searched) else str(len(said))
        show.line(text if len(completions) == 1 else f"[{mark}] {text}")
    return {
        "base": str(config.base),
        "prompt": config.prompt,
        "completions": said,
        "seconds": seconds,
    } | figures


def check(config: SampleConfig) -> None:
    """Raises UserError for settings of two ways to go about it."""
    ways = {
        "beams": config.beams > 1,
        "best_of": config.best_of > 1,
        "lookup": config.lookup,
        "draft": config.draft is not None,
        "server": config.server is not None,
        "search": config.search != "none",
    }
    given = [name for name, there in ways.items() if there]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} were given: choose one of them.")
    for name, most in (("beams", config.beams), ("best_of", config.best_of)):
        if ways[name] and config.samples > most:
            raise UserError(
                f"samples={config.samples} was given with {name}={most}: there are no more than "
                f"{most}."
            )
    config.check_constraint()
    check_searched(config)
    if "" in config.stop:
        raise UserError(
            "stop has an empty text, which stands everywhere: leave it out, or give a text to end "
            "at."
        )


# What goes by the model's own probabilities changes none of them.
UNSEARCHED = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
    "min_new_tokens", "stop", "alternatives",
)  # fmt: skip


def check_searched(config: SampleConfig) -> None:
    """Raises UserError for what a search over tokens does not know, or wants."""
    config.check_search(None if config.task is None else "task")
    if config.search == "none":
        if config.task is not None:
            raise UserError("task was given without a search: give search=mcts, or leave it out.")
        return
    changed = [n for n in UNSEARCHED if getattr(config, n) != SampleConfig.model_fields[n].default]
    if config.is_constrained:
        changed.append("a constraint")
    if changed:
        raise UserError(
            f"{changed[0]} was given with search={config.search}, which goes by the model's own "
            "probabilities: leave it out."
        )


def open_verifier(name: str, prompt: str) -> tuple[PythonTask, Example]:
    """The task of a file, and the prompt as a question of it. Raises UserError for a task that
    knows the answers to its own prompts alone, and for one of several turns.
    """
    task = load_task(name)
    if not isinstance(task, PythonTask):
        raise UserError(
            f"task={name} knows the answers to its own prompts alone: give a .py with "
            "score(prompt, completion), or reward=RUN."
        )
    if isinstance(task, PythonWorld):
        raise UserError(
            f"task={name} answers, turn by turn, and a search makes one text: give a .py without "
            "reply(), or reward=RUN."
        )
    return task, Example(prompt, None, task.name)


def make_request(config: SampleConfig, model: Loaded) -> Request:
    tokenizer = model.tokenizer
    if config.suffix is not None:
        ids = open_middle(tokenizer, config.prompt, config.suffix)
    elif config.raw:
        ids = tokenizer.open_text(config.prompt)
    else:
        ids = encode_prompt(tokenizer, config.prompt)
    return Request(
        ids,
        config.max_new_tokens,
        config.min_new_tokens,
        # beam search ranks, and draws nothing
        Decoding()
        if config.beams > 1
        else Decoding(config.temperature, config.top_k, config.top_p, config.min_p),
        tokenizer.ends,
        config.stop,
        config.repetition_penalty,
        config.presence_penalty,
        constraint=config.make_constraint(model),
        alternatives=config.alternatives,
        seed=config.seed,
    )


def open_middle(tokenizer: Tokenizer, before: str, after: str) -> list[int]:
    """What a middle follows: <prefix> before <suffix> after <middle> (Bavarian et al. 2022, PSM).
    Raises UserError for a tokenizer without these tokens.
    """
    marks = find_infilling(tokenizer.special_tokens)
    first = [*tokenizer.prefix, marks.prefix, *tokenizer.encode(before)]
    return [*first, marks.suffix, *tokenizer.encode(after), marks.middle]


def spell_tokens(model: Loaded) -> list[bytes]:
    """The bytes of each token of the network, which may have more than the tokenizer knows."""
    rows = model.network.config.vocab_size
    known = model.tokenizer.vocabulary[:rows]
    return known + [b""] * (rows - len(known))


def spell(tokenizer: Tokenizer, completion: Completion, stop: Sequence[str]) -> str:
    """The text of a completion, as far as the first stop text."""
    said = tokenizer.decode_bytes(completion.tokens)
    return cut(said, tuple(stop)).decode("utf-8", errors="replace")


def complete(
    config: SampleConfig, model: Loaded, requests: Sequence[Request]
) -> tuple[Sequence[Sequence[Completion]], dict[str, Any]]:
    """`samples` completions of each request, the way the config asks for, and figures of that way.

    Raises UserError for a request that cannot be answered.
    """
    policy, tokenizer = model.policy(), model.tokenizer
    if config.search != "none":
        return config.search_for(
            model, [one.prompt for one in requests], max_new_tokens=config.max_new_tokens,
            seed=config.seed, n_best=config.samples, precision=config.precision,
            verifier=None if config.task is None else open_verifier(config.task, config.prompt),
        )  # fmt: skip
    if config.beams > 1:
        hypotheses = beam_search(
            policy, requests, width=config.beams, n_best=config.samples,
            length_penalty=config.length_penalty, precision=config.precision,
        )  # fmt: skip
        refuse_errors([one for several in hypotheses for one in several])
        return hypotheses, {}
    drawn = max(config.samples, config.best_of)
    every = [
        dataclasses.replace(one, sample=one.sample + i) for one in requests for i in range(drawn)
    ]
    figures: dict[str, float] = {}
    if config.server is not None:
        sizes = model.network.config
        outside = OutsideEngine(
            config.server, config.served_model, vocab_size=sizes.vocab_size, context=sizes.context
        )
        completions = outside.run(every)
    elif config.lookup or config.draft is not None:
        speculator = make_speculator(config, policy, tokenizer)
        completions = speculator.run(every)
        figures = {"guessed": speculator.proposed, "accepted": speculator.accepted}
    else:
        # A cache for what is said here: some models promise contexts of millions of tokens.
        longest = max(len(one.prompt) for one in requests)
        positions = min(longest + config.max_new_tokens, model.network.config.context)
        engine = Engine(
            policy,
            slots=min(64, len(every)),
            positions=positions,
            precision=config.precision,
            vocabulary=spell_tokens(model),
        )
        completions = engine.run(every)
    refuse_errors(completions)
    answered = [completions[a : a + drawn] for a in range(0, len(completions), drawn)]
    if config.best_of > 1:
        answered = [rank(each) for each in answered]
    return [each[: config.samples] for each in answered], figures


def refuse_errors(completions: Sequence[Completion]) -> None:
    """Raises UserError with the first that says why a request could not be answered."""
    for one in completions:
        if one.error:
            raise UserError(one.error)


def make_speculator(config: SampleConfig, policy: TokenPolicy, tokenizer: Tokenizer) -> Speculator:
    """Raises UserError for a draft that reads other tokens."""
    draft = None if config.draft is None else load_sound_model(config.draft)
    if draft is not None and draft.tokenizer.fingerprint() != tokenizer.fingerprint():
        raise UserError(
            f"the draft {config.draft} has another tokenizer than {config.base}: it cannot guess "
            "for it."
        )
    return Speculator(
        policy,
        draft=None if draft is None else draft.policy(),
        ahead=config.ahead,
        precision=config.precision,
    )
