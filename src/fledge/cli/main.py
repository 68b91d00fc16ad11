"""The command `fledge`: finds the verb, reads its fields from a config file and the command line,
and says how it went.
"""

from __future__ import annotations

import difflib
import io
import json
import os
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, get_args

from fledge import __version__
from fledge.cli.trade_words import TRADE_WORDS
from fledge.cli.verbs import VERBS, Verb
from fledge.errors import UserError
from fledge.readable import readable
from fledge.system_errors import explain, out_of_memory

NEAR_THE_BASE = ("dpo", "ipo", "kto")  # their β is how dear it is to leave the base

RENAMED = {"clip_range": "clip_low and clip_high", "updates_per_batch": "updates_per_step"}

USAGE = (
    "fledge VERB [config.toml | a run's config.json] [--field value | field=value]… [--json] "
    "[--debug]"
)


def main(argv: list[str] | None = None) -> None:
    """Exit 0 when done, 2 for a mistake the user can mend, 1 for ours, a claim that does not hold
    or a training that came to no number, 128 + n after signal n.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    open_outputs()
    debug = "--debug" in words
    as_json = "--json" in words
    words = [word for word in words if word not in ("--debug", "--json")]
    try:
        code = dispatch(words, as_json)
        sys.stdout.flush()
    except UserError as error:
        if debug:
            raise
        code = complain(str(error), error.exit_code)
    except BrokenPipeError:  # the reader of a pipe has gone: nobody is left to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:
        sentence = explain(error, find_written(words))
        if debug or sentence is None:
            raise
        code = complain(sentence, 2)
    except KeyboardInterrupt:
        code = complain("stopped.", 130)
    sys.exit(code)


def find_written(words: list[str]) -> Path | None:
    """What a command line writes: its `out`, the run it resumes or reports, the folder of new runs;
    None if nothing.
    """
    for before, word in zip(["", *words], words, strict=False):
        if before == "--out":
            return Path(word)
        key, equals, value = word.removeprefix("--").partition("=")
        if equals and key == "out":
            return Path(value)
    if words and words[0] in ("resume", "report") and len(words) > 1:
        return Path(words[1].rpartition("=")[2])
    verb = VERBS.get(" ".join(words[:2])) or VERBS.get(words[0] if words else "")
    return Path("runs") if verb is not None and verb.trains else None


def open_outputs() -> None:
    """Whatever the two outputs are: closed ones lead nowhere, and what their encoding cannot say is
    spelled out.
    """
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def complain(sentence: str, code: int) -> int:
    """A sentence may quote a file of somebody's: on a terminal nothing in it is obeyed."""
    print(f"fledge: {readable(sentence) if sys.stderr.isatty() else sentence}", file=sys.stderr)
    return code


def dispatch(words: list[str], as_json: bool) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        print(write_overview())
        return 0
    if words[0] in ("--version", "version"):
        print(f"fledge {__version__}")
        return 0
    name, rest = split_verb(words)
    asks = "--help" in rest or "-h" in rest
    every = asks and "all" in rest
    asking = ["--help", "-h", "all"] if every else ["--help", "-h"]
    try:
        given = read_fields(name, VERBS[name], [word for word in rest if word not in asking])
        name, given = redirect(name, strip_algorithm(VERBS[name].config, given))
        if asks:
            print_help(name, VERBS[name], given, every)
            return 0
    except UserError:
        if not asks:
            raise
        print_help(name, VERBS[name], {}, every)
        return 0
    # A file of the user's may be run to know its settings, and prints what it likes.
    with _everything_to_standard_error() if as_json else nullcontext():
        config = validate(name, VERBS[name], given)
    return run_verb(VERBS[name], config, as_json)


def write_overview() -> str:
    width = max(len(name) for name in VERBS)
    lines = [
        f"fledge {__version__}: raises a language model from raw text to an aligned policy.",
        "",
        f"usage: {USAGE}",
        "",
    ]
    lines += [f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()]
    lines += ["", "`fledge VERB --help` shows every field. Start with: fledge demo"]
    return "\n".join(lines)


def split_verb(words: list[str]) -> tuple[str, list[str]]:
    """The verb may be two words (`tokenizer train`). Raises UserError for one that does not
    exist.
    """
    for size in (2, 1):
        name = " ".join(words[:size])
        if name in VERBS:
            return name, words[size:]
    families = [name for name in VERBS if name.split()[0] == words[0]]
    if families:
        raise UserError(
            f"`fledge {words[0]}` needs one more word: "
            f"{' or '.join('fledge ' + name for name in families)}."
        )
    raise UserError(
        f"there is no verb `{words[0]}`.{choose_hint(words[0])} `fledge --help` lists them."
    )


def choose_hint(word: str) -> str:
    """What somebody who types this word is after: the trade's own words first, then what is spelled
    alike.
    """
    plain = word.lower().replace("-", "_")
    if plain in TRADE_WORDS:
        return f" {TRADE_WORDS[plain]}"
    near = difflib.get_close_matches(plain, [*VERBS, *TRADE_WORDS], n=1, cutoff=0.75)
    if not near:
        return ""
    return (
        f" {TRADE_WORDS[near[0]]}"
        if near[0] in TRADE_WORDS
        else f" Perhaps you meant `fledge {near[0]}`."
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
    before = from_run.get("algorithm")
    if before is None or given.get("algorithm", before) == before:
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
            chosen = given.get("compare", given.get("algorithm", fields["algorithm"].default))
            if whose:
                raise UserError(
                    f"{key} is a setting of algorithm={', '.join(whose)}: {chosen} has none."
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
        said = wrong["msg"][0].lower() + wrong["msg"][1:]
        raise UserError(
            f"{field}={given.get(field)} cannot be: {said}. `fledge {name} --help` explains it."
        ) from None


def strip_algorithm(config: Any, given: dict[str, Any]) -> dict[str, Any]:
    """`gspo.clip_low` is clip_low, where algorithm=gspo; in a .toml it is a table of that name."""
    if "algorithm" not in config.model_fields:
        return given
    algorithm = given.get("algorithm", config.model_fields["algorithm"].default)
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


@contextmanager
def _everything_to_standard_error() -> Iterator[None]:
    """What code of the user's prints, from C or in a process of its own too, is not the one JSON
    object.
    """
    sys.stdout.flush()
    try:
        out = os.dup(1)
    except OSError:  # whoever called closed it
        with redirect_stdout(sys.stderr):
            yield
        return
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(out, 1)
        os.close(out)


def print_help(name: str, verb: Verb, given: dict[str, Any], every: bool) -> None:
    """The fields of the verb and, where it has any, of the algorithm that is given; those that many
    verbs share in full only if `every` one is asked for.
    """
    from fledge.cli.field_table import field_table, paragraphs, terminal

    console = terminal(as_json=False)
    about = "\n\n".join(paragraphs(verb.config.__doc__ or ""))
    console.print(f"fledge {name}: {about}\n", markup=False, highlight=False)
    table, brief = field_table(verb.config_for(given), verb.config, every=every)
    console.print(table)
    for line in brief:
        console.print(f"\n{line}", markup=False, highlight=False)
    if brief:
        chosen = f" algorithm={given['algorithm']}" if "algorithm" in given else ""
        more = f"fledge {name} --help all{chosen}"
        console.print(f"\nWhat these mean: {more}", markup=False, highlight=False)
    how = (
        "Give them as field=value or --field value, or in a config.toml (or a run's config.json) "
        "named first."
    )
    console.print(f"\n{how}\n\nExamples:", highlight=False)
    for example in verb.examples:
        console.print(f"  {example}", markup=False, highlight=False)


def run_verb(verb: Verb, config: Any, as_json: bool) -> int:
    from fledge.cli.field_table import terminal
    from fledge.json_file import numbers_or_null
    from fledge.loop import Interrupted
    from fledge.runs.show import Show

    aside = _everything_to_standard_error() if as_json else nullcontext()
    try:
        with aside:
            result = verb.function(config, Show(terminal(as_json, lasting=verb.trains)))
    except Interrupted as stopped:
        return complain(str(stopped), stopped.exit_code)
    except KeyboardInterrupt:
        if not verb.trains:
            raise
        return complain(
            "stopped at once. If the run's folder is there, `fledge resume FOLDER` continues it.",
            130,
        )
    except (MemoryError, RuntimeError) as error:  # torch says a RuntimeError of its own
        if not out_of_memory(error):
            raise
        raise UserError(
            "this takes more memory than the machine has: give a smaller rows_per_micro_batch, "
            "fewer tokens, rows, prompts or copies a step, or a smaller model."
        ) from error
    if as_json:
        print(json.dumps(numbers_or_null(result), allow_nan=False))
    return 0 if result.get("holds", True) else 1  # `verify` gives a verdict
