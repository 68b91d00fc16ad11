"""What IFEval's instructions are told: which `kwargs` each must have, and of what kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fledge.errors import UserError
from fledge.user_code import abbreviate

NUMBER, TEXT, TEXTS = "a whole number", "a text", "a list of texts"
# By rule, as the published rows have them. What a relation is may be left out: at least.
NEEDED: dict[str, dict[str, str]] = {
    "keywords:existence": {"keywords": TEXTS},
    "keywords:frequency": {"keyword": TEXT, "frequency": NUMBER},
    "keywords:forbidden_words": {"forbidden_words": TEXTS},
    "keywords:letter_frequency": {"letter": TEXT, "let_frequency": NUMBER},
    "length_constraints:number_sentences": {"num_sentences": NUMBER},
    "length_constraints:number_paragraphs": {"num_paragraphs": NUMBER},
    "length_constraints:number_words": {"num_words": NUMBER},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": NUMBER, "nth_paragraph": NUMBER, "first_word": TEXT,
    },
    "detectable_content:number_placeholders": {"num_placeholders": NUMBER},
    "detectable_content:postscript": {"postscript_marker": TEXT},
    "detectable_format:number_bullet_lists": {"num_bullets": NUMBER},
    "detectable_format:number_highlighted_sections": {"num_highlights": NUMBER},
    "detectable_format:multiple_sections": {"section_spliter": TEXT, "num_sections": NUMBER},
    "combination:repeat_prompt": {"prompt_to_repeat": TEXT},
    "startend:end_checker": {"end_phrase": TEXT},
    "change_case:capital_word_frequency": {"capital_frequency": NUMBER},
    "language:response_language": {"language": TEXT},
}  # fmt: skip


def check_settings(rule: str, given: Mapping[str, Any], where: str) -> None:
    """Raises UserError for the first that a rule needs and is not there, or is of another kind."""
    for name, kind in NEEDED.get(rule, {}).items():
        value = given.get(name)
        if not is_of_kind(value, kind):
            said = "no" if value is None else f"{abbreviate(value)} as"
            raise UserError(
                f"{where} has {said} `{name}` among the `kwargs` of {rule}: give {kind}."
            )


def is_of_kind(value: Any, kind: str) -> bool:
    """A whole number may come as 3.0, as tables have it."""
    if kind == NUMBER:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return whole or (isinstance(value, float) and value.is_integer())
    if kind == TEXTS:
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, str)
