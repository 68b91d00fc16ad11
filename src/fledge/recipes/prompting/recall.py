"""`fledge recall`: facts that no model was trained on, answered without a memory, with one, and
with one that holds many other facts too.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from fledge.evaluate.intervals import share_interval
from fledge.prompting.made_facts import Fact, make_facts, read_facts
from fledge.prompting.remembering import Remembering
from fledge.prompting.speaker import Saying, Speaker, ask_user
from fledge.recipes.prompting.memory_fields import LoadedEncoder
from fledge.recipes.prompting.speaker_fields import SpeakerFields
from fledge.retrieval.store import MemoryStore
from fledge.runs.show import Show

SOURCE = "fledge recall"
SHORT = " Answer briefly."
OTHER_SEEDS = 1_000_003  # apart from the seed of the facts that are asked for


class RecallConfig(SpeakerFields):
    """Ask for facts that are in no training data: without a memory, with one that holds them, and
    with one that holds thousands of other facts of the same kinds beside them. The memory is one of
    its own, removed at the end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    facts: Path | None = Field(
        default=None,
        description="a .jsonl with `fact`, `question`, `answer`; by default facts that are made up",
    )
    questions: int = Field(default=40, ge=1, description="facts that are asked for")
    others: int = Field(default=10_000, ge=0, description="made-up facts stored beside them")
    memory_encoder: Path | None = Field(
        default=None,
        description="a sentence encoder's folder, by which memories are found by meaning too",
    )
    memory_shown: int = Field(
        default=3, ge=1, description="memories looked up for each question and put before it"
    )
    max_new_tokens: int = Field(default=32, ge=1, description="of an answer")


def recall(config: RecallConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for facts that cannot be read, and a model that does not answer."""
    if config.facts is None:
        facts = list(islice(make_facts(config.seed), config.questions))
    else:
        facts = read_facts(config.facts)[: config.questions]
    encoder = None if config.memory_encoder is None else LoadedEncoder(config.memory_encoder)
    speaker = config.open_speaker()
    show.line(f"{len(facts)} facts that no model was trained on, asked of {speaker.name}")
    results = {"without": ask_for(facts, None, speaker, config)}
    tell("without a memory", results["without"], show)
    with tempfile.TemporaryDirectory(prefix="fledge-recall-") as folder:
        store = MemoryStore(Path(folder, "memory.db"), encoder)
        store.add_all([fact.text for fact in facts], SOURCE)
        results["with"] = ask_for(facts, store, speaker, config)
        tell("with a memory of them", results["with"], show)
        if config.others:
            others = islice(make_facts(config.seed + OTHER_SEEDS), config.others)
            store.add_all((fact.text for fact in others), SOURCE)
            results["with_others"] = ask_for(facts, store, speaker, config)
            tell(f"with {config.others:,} other facts in it", results["with_others"], show)
        store.close()
    return {"base": config.base, "facts": len(facts), "others": config.others, **results}


def ask_for(
    facts: Sequence[Fact], store: MemoryStore | None, speaker: Speaker, config: RecallConfig
) -> dict[str, Any]:
    """Each question in a conversation of its own. looked_up: the share of the questions whose fact
    was among the memories that were put before them.
    """
    prompts, shown = [], 0
    for fact in facts:
        asked = fact.question + SHORT
        if store is not None:
            remembering = Remembering(store, config.memory_shown, SOURCE)
            asked = remembering.put_before(fact.question) + SHORT
            shown += any(fact.text == one.text for one in remembering.sources)
        prompts.append([ask_user(asked)])
    said = speaker.say(prompts, Saying(config.max_new_tokens, seed=config.seed))
    marks = [says(text, fact.answer) for text, fact in zip(said, facts, strict=True)]
    told: dict[str, Any] = {
        "right": sum(marks) / len(marks),
        "interval": share_interval(sum(marks), len(marks)),
        "example": {"question": facts[0].question, "answer": said[0], "wanted": facts[0].answer},
    }
    return told if store is None else told | {"looked_up": shown / len(facts)}


def says(text: str, answer: str) -> bool:
    """Whether the answer stands in the text as words of its own, letter case aside."""
    pattern = rf"(?<!\w){re.escape(answer)}(?!\w)"
    return re.search(pattern, text, re.IGNORECASE) is not None


def tell(how: str, told: dict[str, Any], show: Show) -> None:
    low, high = told["interval"]
    line = f"{how:<34} {told['right']:6.1%} right ({low:.0%} to {high:.0%})"
    if "looked_up" in told:
        line += f"; the fact was looked up for {told['looked_up']:.1%}"
    show.line(line)
