"""Every command that fledge prints, and every one in its documents, is one that it takes: verb,
fields and choices.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from fledge.algorithms.registry import names_of
from fledge.cli.main import split_verb
from fledge.cli.verbs import VERBS
from fledge.errors import UserError
from fledge.models.images.picture_model import find_kinds
from fledge.recipes.look.evaluate_one_shot import OneShotConfig
from fledge.recipes.look.evaluate_pictures import EvaluatePicturesConfig
from fledge.recipes.look.play_game import PlayGameConfig
from fledge.recipes.look.sample_pictures import SamplePicturesConfig
from fledge.recipes.look.sample_sentences import SampleSentencesConfig
from fledge.recipes.look.suite_fields import EvaluateSuiteConfig

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"fledge ((?:tokenizer )?[a-z]+)((?: +[^\s`,;:|#()…]+)*)")
FIELD = re.compile(r"(?:--)?([a-z_]+)=")


def texts(tree: ast.AST) -> Iterator[str]:
    """What the program may print: its strings, with what is filled in as VALUE."""
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "VALUE"
                for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in inside
        ):
            yield node.value


def printed() -> list[tuple[str, str]]:
    """(where, command) of source and documents."""
    sources = [
        (path, texts(ast.parse(path.read_text()))) for path in sorted((ROOT / "src").rglob("*.py"))
    ]
    documents = [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "benchmarks" / "README.md",
    ]
    pages = [(path, path.read_text().splitlines()) for path in documents]
    commands = []
    for path, lines in [*sources, *pages]:
        for text in lines:
            for match in COMMAND.finditer(text.replace("{verb}", "VALUE")):
                commands.append(
                    (f"{path.relative_to(ROOT)}: {match.group().strip()}", match.group()[7:])
                )
    return commands


@cache
def fields_of_what_is_made(verb: str) -> set[str]:
    """Of verbs that take other fields where their base makes pictures or sentences."""
    ways = [kind.sampling for kind in find_kinds().values() if kind.sampling is not None]
    made: dict[str, list[type[BaseModel]]] = {
        "sample": [SamplePicturesConfig, SampleSentencesConfig, *ways],
        "evaluate": [EvaluatePicturesConfig, OneShotConfig, EvaluateSuiteConfig],
        "play": [PlayGameConfig],
    }
    return {name for config in made.get(verb, []) for name in config.model_fields}


def wrong(command: str) -> str | None:
    """What is no verb or no field in it; prose ("fledge reads …") has neither and is passed
    over.
    """
    words = command.replace('"', " ").replace("'", " ").split()
    if words[0] not in {name.split()[0] for name in VERBS} and not (
        len(words) > 1 and FIELD.match(words[1])
    ):
        return None
    if words[0] == "VALUE":
        return None
    try:
        verb, rest = split_verb(words)
    except UserError as error:
        return str(error) if any(FIELD.match(word) for word in words) else None
    if any(".py" in word for word in rest):  # whose settings only the file knows
        return None
    given = dict(
        word.split("=", 1) for word in rest if re.fullmatch(r"(algorithm|model|task)=\w+", word)
    )
    if "VALUE" in given.values():
        given = {}
    if given.get("algorithm") in names_of("pairs"):
        verb = "prefer"  # which `align` is then
    fields = {*VERBS[verb].config_for(given).model_fields, *fields_of_what_is_made(verb)}
    named = [match.group(1) for word in rest if (match := FIELD.match(word))]
    return next((f"{name} is no field of {verb}" for name in named if name not in fields), None)


def test_every_printed_command_has_a_verb_and_fields_that_exist() -> None:
    commands = printed()
    assert len(commands) > 60  # the search finds them at all
    assert [
        f"{where}: {mistake}" for where, command in commands if (mistake := wrong(command))
    ] == []


def test_the_search_sees_a_field_that_is_none() -> None:
    assert wrong('tokenizer show from=VALUE text="the cat"') == "from is no field of tokenizer show"
    assert wrong("tune base=runs/pretrain") is None
    assert wrong("align algorithm=gspo clip_low=0.1") is None
    assert wrong("align algorithm=rloo clip_low=0.1") == "clip_low is no field of align"


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_verb_are_read_by_it(verb: str) -> None:
    from fledge.cli.parsing import read_fields, redirect, validate

    for example in VERBS[verb].examples:
        name, rest = split_verb(shlex.split(example)[1:])
        assert name == verb
        name, given = redirect(name, read_fields(name, VERBS[name], rest))
        validate(name, VERBS[name], given)
