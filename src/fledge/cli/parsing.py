"""Reads a command line's words, and the files that it names, into the fields of a verb."""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, get_args

from fledge.cli.verbs import VERBS, Verb
from fledge.errors import UserError

NEAR_THE_BASE = ("dpo", "ipo", "kto")  # their β is how dear it is to leave the base

RENAMED = {"clip_range": "clip_low and clip_high", "updates_per_batch": "updates_per_step"}

USAGE = (
    "fledge VERB [config.toml | a run's config.json] [--field value | field=value]… [--json] "
    "[--debug]"
)


def read_fields(name: str, verb: Verb, words: list[str]) -> dict[str, Any]:
    """The fields as they are given: those of a .toml file first, then the command line's. Raises
    UserError for a word that is none.
    """
    from_run: dict[str, Any] = {}
    from_file: dict[str, Any] = {}
    given: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        key, equals, value = word.removeprefix("--").partition("=")
        if word.endswith((".toml", ".json")) and not equals and not word.startswith("--"):
            if word.endswith(".toml"):
                from_file |= read_toml(Path(word))
            else:
                from_run |= read_run_config(Path(word), name)
            continue
        if not equals:
            if not word.startswith("--"):
                if verb.bare is not None and verb.several:
                    given[verb.bare] = [*given.get(verb.bare, ()), word]
                    continue
                if verb.bare is None or verb.bare in given:
                    raise UserError(
                        f"`{word}` is neither a field=value nor a config file: usage: {USAGE}"
                    )
                given[verb.bare] = word
                continue
            if position == len(words):
                raise UserError(f"`{word}` needs a value: {word} VALUE.")
            value = words[position]
            position += 1
        whose, dot, field = key.rpartition(".")
        given[f"{whose}{dot}{field.replace('-', '_')}"] = value
    return leave_out_others(verb, from_run, from_file | given) | from_file | given


def leave_out_others(verb: Verb, from_run: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A run's fields, where another algorithm is given without the settings of its own."""
    choice = getattr(verb.config, "choice", "algorithm")
    before = from_run.get(choice)
    if before is None or given.get(choice, before) == before:
        return from_run
    settings = verb.config_for(from_run).model_fields.keys() - verb.config.model_fields.keys()
    return {key: value for key, value in from_run.items() if key not in settings}


def redirect(name: str, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """`align` by an algorithm that learns from pairs is `prefer`, on pairs of the base's own
    answers, where β has another name.
    """
    if name != "align" or "algorithm" not in given:
        return name, given
    from fledge.algorithms.registry import names_of

    if given["algorithm"] not in names_of("pairs"):
        return name, given
    if given["algorithm"] in NEAR_THE_BASE and "kl_coefficient" in given:
        given = {"beta" if k == "kl_coefficient" else k: each for k, each in given.items()}
    for key in given:
        if key not in VERBS["prefer"].config_for(given).model_fields:
            raise UserError(
                f"{key} says nothing to algorithm={given['algorithm']}, which learns from pairs: "
                "see `fledge prefer --help`."
            )
    return "prefer", given


def check_names(name: str, config: Any, given: dict[str, Any]) -> None:
    """Raises UserError for a field that there is not: of another algorithm, or none at all."""
    fields = config.model_fields
    for key in given:
        if key in fields:
            continue
        subject = getattr(config, "subject", None)
        if subject is not None:
            from fledge.recipes.algorithm_fields import whose_setting

            whose = whose_setting(subject, key)
            choice = config.choice
            chosen = given.get("compare", given.get(choice, fields[choice].default))
            if whose:
                raise UserError(
                    f"{key} is a setting of {choice}={', '.join(whose)}: {chosen} has none."
                )
            if key in RENAMED:
                raise UserError(f"`{key}` has another name now: {RENAMED[key]}.")
        near = difflib.get_close_matches(key, fields, n=1)
        hint = f"perhaps you meant `{near[0]}`. " if near else ""
        raise UserError(
            f"`{key}` is no field of `fledge {name}`: {hint}`fledge {name} --help` lists them."
        )


def read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise UserError(f"the config file {path} does not exist.") from None
    except (IsADirectoryError, PermissionError) as error:
        raise UserError(
            f"the config file {path} cannot be read: {os.strerror(error.errno or 0).lower()}."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"the config file {path} is not TOML: {error}.") from None


def read_run_config(path: Path, name: str) -> dict[str, Any]:
    """The fields in the config.json of a run, but for `out`: it names the run that is there. Raises
    UserError.
    """
    from fledge.json_file import read_json

    if not path.exists():
        raise UserError(f"the config file {path} does not exist.")
    written = read_json(path, dict[str, Any])
    if not isinstance(written.get("config"), dict) or not isinstance(written.get("verb"), str):
        raise UserError(
            f"{path} is not the config.json of a run: give that, or a .toml file with fields."
        )
    if written["verb"] != name:
        raise UserError(
            f"{path} is of `fledge {written['verb']}`, and this is `fledge {name}`: give one of "
            "this verb."
        )
    return {key: value for key, value in written["config"].items() if key != "out"}


def validate(name: str, verb: Verb, given: dict[str, Any]) -> Any:
    """Pydantic reads numbers, paths and true/false out of the words; the word none stands for
    None.
    """
    from pydantic import ValidationError

    for key, value in given.items():
        check_characters(key, value)
    config = verb.config_for(given)
    check_names(name, config, given)
    optional = {
        key
        for key, field in config.model_fields.items()
        if type(None) in get_args(field.annotation)
    }
    values = {
        key: None if value in ("none", "None") and key in optional else value
        for key, value in given.items()
    }
    try:
        return config.model_validate(values)
    except ValidationError as error:
        wrong = error.errors()[0]
        field = str(wrong["loc"][0]) if wrong["loc"] else ""
        if wrong["type"] == "missing":
            about = config.model_fields[field].description
            raise UserError(f"`fledge {name}` needs {field}=…: {about}.") from None
        said = _say_plainly(wrong["type"], wrong["msg"])
        raise UserError(
            f"{field}={given.get(field)} cannot be: {said}. `fledge {name} --help` explains it."
        ) from None


def _say_plainly(kind: str, message: str) -> str:
    """What pydantic says, without its words for what Python has."""
    if kind == "path_type":
        return "give the name of a file or folder"
    plain = message.removeprefix("Value error, ")
    return plain[:1].lower() + plain[1:]


def strip_algorithm(config: Any, given: dict[str, Any]) -> dict[str, Any]:
    """`gspo.clip_low` is clip_low, where algorithm=gspo; in a .toml it is a table of that name."""
    choice = getattr(config, "choice", "")
    if choice not in config.model_fields:
        return given
    algorithm = given.get(choice, config.model_fields[choice].default)
    plain: dict[str, Any] = {}
    for key, value in given.items():
        whose, dot, setting = key.rpartition(".")
        if key == algorithm and isinstance(value, dict):
            plain |= value
        else:
            plain[setting if dot and whose == algorithm else key] = value
    return plain


def check_characters(key: str, value: Any) -> None:
    """Raises UserError for text with what no file name and no JSON can hold: it would fail later,
    and in the middle.
    """
    if not isinstance(value, str):
        return
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{key}={value!r} is not UTF-8 at character {error.start + 1}: write it in UTF-8."
        ) from None
    if "\0" in value:
        raise UserError(
            f"{key}={value!r} has a zero byte, which no name and no text has: leave it out."
        )
