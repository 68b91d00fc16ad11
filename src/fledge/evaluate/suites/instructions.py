"""Instructions whose following can be seen in the answer itself, by the names that IFEval has for
them. Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models", table 1.

Languages are told by a package that may not be here: then `language:response_language` is not
judged, and of English in capitals the capitals alone. The number of sentences is counted at . ! ?
with a blank behind, not by a trained splitter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fledge.evaluate.suites.languages import can_tell, is_in
from fledge.evaluate.suites.questions import AskedQuestion, Marked

Settings = Mapping[str, Any]
LANGUAGE = "language:response_language"
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def judge_ifeval(asked: Sequence[AskedQuestion], answers: Sequence[str]) -> list[Marked]:
    """Right where every instruction is followed; `loose`: where it is without the first or the last
    line, or without asterisks. read: the instructions that are not followed.
    """
    marked: list[Marked] = []
    for question, text in zip(asked, answers, strict=True):
        rules = list(zip(question.row["rules"], question.row["settings"], strict=True))
        known = [(rule, given) for rule, given in rules if is_judged(rule)]
        unknown = [rule for rule, _ in rules if not is_judged(rule)]
        prompt = question.row["prompt"]
        missed = [rule for rule, given in known if not follows(rule, given, text, prompt)]
        loose = all(
            any(follows(rule, given, form, prompt) for form in loosen(text))
            for rule, given in known
        )
        error = f"{', '.join(unknown)}: no rule here judges it" if unknown else ""
        if LANGUAGE in unknown:
            error += " (languages: pip install 'fledge[languages]')"
        read = ", ".join(missed)
        marked.append(Marked(not missed and bool(known), read, {"loose": loose}, error))
    return marked


def is_judged(rule: str) -> bool:
    return rule in RULES and (rule != LANGUAGE or can_tell())


def follows(rule: str, settings: Settings, text: str, prompt: str) -> bool:
    return bool(text.strip()) and RULES[rule]({**settings, "prompt": prompt}, text)


def loosen(text: str) -> list[str]:
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return [form for each in cut for form in (each, each.replace("*", ""))]


def compare(number: int, settings: Settings, name: str, relation: str = "relation") -> bool:
    limit = int(settings[name])
    return number < limit if settings.get(relation) == "less than" else number >= limit


def count_matches(pattern: str, text: str) -> int:
    return len(re.findall(pattern, text, flags=re.IGNORECASE))


def has_all(s: Settings, text: str) -> bool:
    return all(count_matches(re.escape(word), text) for word in s["keywords"])


def has_none(s: Settings, text: str) -> bool:
    return not any(count_matches(rf"\b{re.escape(word)}\b", text) for word in s["forbidden_words"])


def count_sentences(text: str) -> int:
    return len([part for part in re.split(r"(?<=[.!?])[\"')\]]*\s+", text.strip()) if part])


def has_paragraphs(s: Settings, text: str) -> bool:
    parts = re.split(r"\s?\*\*\*\s?", text)
    inner = [part for part in parts[1:-1] if not part.strip()]
    return not inner and sum(bool(part.strip()) for part in parts) == s["num_paragraphs"]


def opens_paragraph(s: Settings, text: str) -> bool:
    parts = text.split("\n\n")
    number = sum(bool(part.strip()) for part in parts)
    place = int(s["nth_paragraph"])
    if number != s["num_paragraphs"] or place > number or not parts[place - 1].strip():
        return False
    word = parts[place - 1].split()[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word)[0].lower() == str(s["first_word"]).lower()


def has_postscript(s: Settings, text: str) -> bool:
    marker = str(s["postscript_marker"]).strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return count_matches(known.get(marker, re.escape(marker)), text) > 0


def has_bullets(s: Settings, text: str) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, flags=re.MULTILINE)
    return len(stars) + len(re.findall(r"^\s*-.*$", text, flags=re.MULTILINE)) == s["num_bullets"]


def has_highlights(s: Settings, text: str) -> bool:
    marked = re.findall(r"\*[^\n\*]*\*", text) + re.findall(r"\*\*[^\n\*]*\*\*", text)
    return sum(bool(each.strip("*").strip()) for each in marked) >= s["num_highlights"]


def has_sections(s: Settings, text: str) -> bool:
    spelled = re.escape(str(s["section_spliter"]).strip())
    return len(re.split(rf"\s?{spelled}\s?\d+\s?", text)) > s["num_sections"]


def is_json(s: Settings, text: str) -> bool:
    bare = re.sub(r"^```(?:json)?", "", text.strip(), flags=re.IGNORECASE)
    try:
        json.loads(bare.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(s: Settings, text: str) -> bool:
    return any(t.lstrip("<").rstrip(">").strip() for t in re.findall(r"<<[^\n]+>>", text))


def has_two_responses(s: Settings, text: str) -> bool:
    parts = text.split("******")
    said = [part.strip() for part in parts if part.strip()]
    inner = all(part.strip() for part in parts[1:-1])
    return inner and len(said) == 2 and said[0] != said[1]


def repeats_prompt(s: Settings, text: str) -> bool:
    return text.strip().lower().startswith(str(s["prompt_to_repeat"]).strip().lower())


def ends_with(s: Settings, text: str) -> bool:
    return text.strip().strip('"').lower().endswith(str(s["end_phrase"]).strip().lower())


def is_quoted(s: Settings, text: str) -> bool:
    bare = text.strip()
    return len(bare) > 1 and bare[0] == bare[-1] == '"'


def counts_capitals(s: Settings, text: str) -> bool:
    number = sum(word.isupper() for word in re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text))
    return compare(number, s, "capital_frequency", "capital_relation")


def is_english(text: str) -> bool:
    """Where no language can be told, each text may be."""
    return not can_tell() or is_in("en", text)


RULES: dict[str, Callable[[Settings, str], bool]] = {
    "keywords:existence": has_all,
    "keywords:frequency": lambda s, t: compare(
        count_matches(re.escape(str(s["keyword"]).strip()), t), s, "frequency"
    ),
    "keywords:forbidden_words": has_none,
    "keywords:letter_frequency": lambda s, t: compare(
        t.lower().count(str(s["letter"]).lower()), s, "let_frequency", "let_relation"
    ),
    "length_constraints:number_sentences": lambda s, t: compare(
        count_sentences(t), s, "num_sentences"
    ),
    "length_constraints:number_paragraphs": has_paragraphs,
    "length_constraints:number_words": lambda s, t: compare(
        len(re.findall(r"\w+", t)), s, "num_words"
    ),
    "length_constraints:nth_paragraph_first_word": opens_paragraph,
    "detectable_content:number_placeholders": lambda s, t: (
        len(re.findall(r"\[.*?\]", t)) >= s["num_placeholders"]
    ),
    "detectable_content:postscript": has_postscript,
    "detectable_format:number_bullet_lists": has_bullets,
    "detectable_format:constrained_response": lambda s, t: any(o in t for o in _OPTIONS),
    "detectable_format:number_highlighted_sections": has_highlights,
    "detectable_format:multiple_sections": has_sections,
    "detectable_format:json_format": is_json,
    "detectable_format:title": has_title,
    "combination:two_responses": has_two_responses,
    "combination:repeat_prompt": repeats_prompt,
    "startend:end_checker": ends_with,
    "startend:quotation": is_quoted,
    "change_case:capital_word_frequency": counts_capitals,
    "change_case:english_capital": lambda s, t: t.isupper() and is_english(t),
    "change_case:english_lowercase": lambda s, t: t.islower() and is_english(t),
    LANGUAGE: lambda s, t: is_in(str(s["language"]), t),
    "punctuation:no_comma": lambda s, t: "," not in t,
}
