"""Demonstrations for `fledge reward`: rows with an answer each, read from a file, and what the base
says itself to their prompts.
"""

from __future__ import annotations

from pathlib import Path

from fledge import ranks
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.recipes.language.pairs import FEWEST, PairsConfig, Preferences
from fledge.recipes.language.rows import divide_conversations
from fledge.runs.show import Show
from fledge.score.shown_pairs import ShownPairs, count_longer
from fledge.text.held_out import Divided


def pair_demonstrations(config: PairsConfig, path: Path, base: Loaded, show: Show) -> Preferences:
    """Of each demonstration samples_per_prompt pairs, on the side of its prompt. Raises UserError
    for a file that cannot be read, or has fewer than 8.
    """
    context, most = base.network.config.context, config.max_new_tokens
    divided, censuses = divide_conversations(path, base.tokenizer, context, config.reading, show)
    number = sum(map(len, (divided.train, divided.validation, divided.test)))
    if number < FEWEST:
        raise UserError(
            f"{path} has {number} demonstrations that fit a context of {context} tokens: {FEWEST} "
            "or more are needed."
        )
    longer = count_longer(divided.train, most)
    if longer:
        show.line(
            f"{path}: {longer} of {len(divided.train)} answers are longer than the {most} tokens "
            "that the base may say (max_new_tokens), and are told apart by that alone."
        )
    maker = ShownPairs(
        base.policy().to(config.on()), base.tokenizer, config.samples_per_prompt, most, config.seed
    )
    train, validation, test = ranks.from_first(
        lambda: (
            maker.make(divided.train, "train"),
            maker.make(divided.validation, "validation"),
            maker.make(divided.test, "test"),
        )
    )
    pairs = Divided(train, validation, test, divided.note)
    return Preferences("pairs", pairs, None, censuses)
