"""Instructions that are followed and that are not, and beside lm-evaluation-harness' own checkers
where it is installed.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.evaluate.suites import languages
from fledge.evaluate.suites.instruction_settings import check_settings
from fledge.evaluate.suites.instructions import (
    LANGUAGE,
    RULES,
    follows,
    is_judged,
    judge_ifeval,
)
from fledge.evaluate.suites.questions import AskedQuestion

# Of each rule: settings, a text that follows it, one that does not.
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "keywords:existence": ({"keywords": ["sea", "salt"]}, "Salt of the SEA", "the sea"),
    "keywords:frequency": (
        {"keyword": "sea", "frequency": 2, "relation": "at least"}, "sea, sea", "sea"),
    "keywords:forbidden_words": ({"forbidden_words": ["sea"]}, "seaside", "the Sea."),
    "keywords:letter_frequency": (
        {"letter": "e", "let_frequency": 2, "let_relation": "less than"}, "the", "these Eels"),
    "length_constraints:number_sentences": (
        {"num_sentences": 2, "relation": "at least"}, "One. Two!", "One and two."),
    "length_constraints:number_paragraphs": ({"num_paragraphs": 2}, "a\n***\nb", "a\n\nb"),
    "length_constraints:number_words": (
        {"num_words": 3, "relation": "less than"}, "one two", "one two three"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "so"}, "a b\n\nSo, c", "a\n\nthus"),
    "detectable_content:number_placeholders": ({"num_placeholders": 2}, "[a] [b]", "[a]"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "x\nP.S. y", "x"),
    "detectable_format:number_bullet_lists": ({"num_bullets": 2}, "* a\n- b", "* a"),
    "detectable_format:constrained_response": ({}, "My answer is yes.", "yes"),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2}, "*a* and *b*", "*a* and **"),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1 a\nSECTION 2 b",
        "SECTION 1 a"),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', "{a: 1}"),
    "detectable_format:title": ({}, "<<song>>\nla", "<song>\nla"),
    "combination:two_responses": ({}, "one\n******\ntwo", "one\n******\none"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Sing. "}, "sing. La", "La"),
    "startend:end_checker": ({"end_phrase": "The End"}, "so. the end", "the end."),
    "startend:quotation": ({}, '"all of it"', '"not" all'),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"}, "AN OLD man", "an OLD man"),
    "change_case:english_capital": ({}, "ALL OF IT", "All of it"),
    "change_case:english_lowercase": ({}, "all of it", "All of it"),
    "punctuation:no_comma": ({}, "a and b", "a, b"),
    "language:response_language": (
        {"language": "de"}, "Der Hund schläft heute im Garten.", "The dog sleeps in the garden."),
}  # fmt: skip


@pytest.fixture
def no_detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As it is where the package of languages was not installed."""
    monkeypatch.setitem(sys.modules, "langdetect", None)
    languages._open.cache_clear()
    yield
    monkeypatch.undo()
    languages._open.cache_clear()


@pytest.mark.parametrize("rule", RULES)
def test_each_is_told_from_its_opposite(rule: str) -> None:
    if not is_judged(rule):
        pytest.skip("languages are told by langdetect, which is not here")
    settings, good, bad = CASES[rule]
    assert follows(rule, settings, good, "")
    assert not follows(rule, settings, bad, "")
    assert not follows(rule, settings, "  ", "")


@pytest.mark.parametrize("rule", RULES)
def test_what_a_rule_needs_is_missed_when_the_row_is_read(rule: str) -> None:
    """All that a rule looks up, and no more: each one left out is named, and none of another
    kind gets to the rule.
    """
    settings, text, _ = CASES[rule]
    check_settings(rule, settings, "row 3")
    for name in settings:
        rest = {key: value for key, value in settings.items() if key != name}
        odd = {**settings, name: {"a": 1}}
        if name.endswith("relation"):
            follows(rule, rest, text, "")
            continue
        with pytest.raises(UserError, match=f"row 3 has no `{name}` among the `kwargs` of {rule}"):
            check_settings(rule, rest, "row 3")
        with pytest.raises(UserError, match=f"as `{name}` among"):
            check_settings(rule, odd, "row 3")


def test_a_number_may_come_as_a_table_has_it() -> None:
    rule = "length_constraints:number_words"
    check_settings(rule, {"num_words": 3.0}, "row 1")
    for odd in (3.5, True, "3", float("inf"), float("nan")):
        with pytest.raises(UserError, match="give a whole number"):
            check_settings(rule, {"num_words": odd}, "row 1")


def test_all_have_to_be_followed_and_a_first_line_may_be_passed_over() -> None:
    rules = ["punctuation:no_comma", "change_case:english_lowercase"]
    question = AskedQuestion(
        "Say.", "", (), "", {"prompt": "Say.", "rules": rules, "settings": [{}, {}]}
    )
    marks = judge_ifeval([question] * 3, ["all of it", "Sure, here:\nall of it", "All, of it"])
    assert [(m.right, m.others["loose"]) for m in marks] == [
        (True, True), (False, True), (False, False)
    ]  # fmt: skip
    assert marks[2].read == ", ".join(rules)


def test_keywords_are_words_and_depth_is_no_json() -> None:
    assert follows("keywords:existence", {"keywords": ["*c++ (new)"]}, "of *C++ (new) code", "")
    assert not follows("keywords:existence", {"keywords": ["a.c"]}, "abc", "")
    assert not follows("detectable_format:json_format", {}, "[" * 100_000, "")


@pytest.mark.usefixtures("no_detector")
def test_a_language_that_nobody_tells_is_said_and_the_other_instructions_count() -> None:
    rules = [LANGUAGE, "change_case:english_lowercase"]
    row = {"prompt": "", "rules": rules[:1], "settings": [{"language": "de"}]}
    both = {**row, "rules": rules, "settings": [{"language": "de"}, {}]}
    asked = [AskedQuestion("", "", (), "", each) for each in (row, both, both)]
    marks = judge_ifeval(asked, ["ja", "ein hund", "Ein Hund"])
    assert [mark.right for mark in marks] == [False, True, False]
    for mark in marks:
        assert "language:response_language: no rule here judges it" in mark.error
        assert "pip install 'fledge[languages]'" in mark.error


def test_an_answer_is_held_to_the_language_asked_for() -> None:
    """Sentences whose language any reader knows; what has none is in each, as IFEval has it."""
    pytest.importorskip("langdetect")
    texts = {
        "en": "this is a sentence about the sea and its ships",
        "de": "der hund schläft heute nacht nicht im garten",
        "fr": "le chien dort dans le jardin de mon voisin",
        "ja": "犬は庭で寝ている。",
        "ru": "сегодня вечером мы все вместе пойдём домой",
    }
    for asked in texts:
        for said, text in texts.items():
            assert follows(LANGUAGE, {"language": asked}, text, "") == (said == asked)
            assert follows("change_case:english_lowercase", {}, text, "") == (said == "en")
        assert follows(LANGUAGE, {"language": asked}, "1 2 3", "")
    row = {"prompt": "", "rules": [LANGUAGE], "settings": [{"language": "de"}]}
    [mark] = judge_ifeval([AskedQuestion("", "", (), "", row)], [texts["de"]])
    assert mark.right
    assert not mark.error


def test_they_say_what_the_harness_says() -> None:
    """On the texts of all cases, 25 rules each, and on 200 made of pieces of them."""
    pytest.importorskip("lm_eval")
    registry = importlib.import_module("lm_eval.tasks.ifeval.instructions_registry")
    draw = random.Random(1)
    texts = [text for _, *both in CASES.values() for text in both]
    texts += ["\n".join(draw.choices(texts, k=3)) for _ in range(200)]
    assert languages.can_tell()
    # trained splitters of sentences and words are theirs alone
    left_out = {"length_constraints:number_sentences", "change_case:capital_word_frequency"}
    for rule in RULES.keys() - left_out:
        settings = CASES[rule][0]
        checker = registry.INSTRUCTION_DICT[rule](rule)
        checker.build_description(**settings)
        for text in texts:
            theirs = bool(text.strip()) and bool(checker.check_following(text))
            assert follows(rule, settings, text, "") == theirs, (rule, text)
