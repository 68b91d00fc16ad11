"""The command `fledge`: finds the verb, reads its fields from a config file and the command line,
and says how it went.
"""

from __future__ import annotations

import difflib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from fledge import __version__
from fledge.cli.parsing import USAGE, read_fields, redirect, strip_algorithm, validate
from fledge.cli.trade_words import TRADE_WORDS
from fledge.cli.verbs import VERBS, Verb
from fledge.errors import UserError
from fledge.readable import readable
from fledge.system_errors import explain, out_of_memory


def main(argv: list[str] | None = None) -> None:
    """Exit 0 when done, 2 for a mistake the user can mend, 1 for ours, a claim that does not hold
    or a training that came to no number, 128 + n after signal n.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    open_outputs()
    debug = "--debug" in words
    as_json = "--json" in words
    words = [word for word in words if word not in ("--debug", "--json")]

    def run() -> int:
        code = dispatch(words, as_json)
        sys.stdout.flush()
        return code

    try:
        code = run_together(words, run) if is_one_of_several() else run()
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


def is_one_of_several() -> bool:
    """Whether a launcher such as torchrun has started this process beside others."""
    return os.environ.get("WORLD_SIZE", "1") not in ("", "0", "1") and "RANK" in os.environ


def run_together(words: list[str], run: Callable[[], int]) -> int:
    from fledge.scale.launch import run_rank

    return run_rank(words, run, complain)


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
    turned = " ".join(reversed(words[:2]))
    if turned in VERBS:
        raise UserError(f"there is no verb `{' '.join(words[:2])}`: it is `fledge {turned}`.")
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
    config = verb.config_for(given)
    # What a verb composes has its fields and more; what it has in their place stands for itself.
    own = verb.config if issubclass(config, verb.config) else config
    about = "\n\n".join(paragraphs(own.__doc__ or ""))
    console.print(f"fledge {name}: {about}\n", markup=False, highlight=False)
    table, brief = field_table(config, own, every=every)
    console.print(table)
    for line in brief:
        console.print(f"\n{line}", markup=False, highlight=False)
    if (large := getattr(own, "large", None)) is not None:
        console.print(f"\n{large.describe()}", markup=False, highlight=False)
    if brief:
        choice = getattr(verb.config, "choice", "")
        chosen = f" {choice}={given[choice]}" if choice in given else ""
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
    from fledge.ranks import is_first
    from fledge.runs.show import Show, silent

    console = terminal(as_json, lasting=verb.trains) if is_first() else silent()
    aside = _everything_to_standard_error() if as_json else nullcontext()
    try:
        with aside:
            result = verb.function(config, Show(console))
    except Interrupted as stopped:
        return complain(str(stopped), stopped.exit_code) if is_first() else stopped.exit_code
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
    if as_json and is_first():
        print(json.dumps(numbers_or_null(result), allow_nan=False))
    return 0 if result.get("holds", True) else 1  # `verify` gives a verdict
