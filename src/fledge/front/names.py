"""Which verbs Python has, and what each one takes; one that the command line gains is here, too."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fledge.cli.verbs import VERBS
from fledge.front import verbs

_OTHER_NAMES = {"tokenizer train": "train_tokenizer", "tokenizer show": "show_tokenizer"}
_NOT_IN_PYTHON = ("completion",)  # of a shell's words


def names() -> list[str]:
    """Of every verb that Python has: a new one has its own name, without being told here."""
    return [_spell(verb) for verb in VERBS if verb not in _NOT_IN_PYTHON]


def find(name: str) -> Callable[..., Any] | None:
    """The function of a verb, with its fields in its signature; None where there is no such
    verb.
    """
    verb = next((verb for verb in VERBS if _spell(verb) == name), None)
    if verb is None or verb in _NOT_IN_PYTHON:
        return None
    if hasattr(verbs, name):
        return _describe(getattr(verbs, name), verb)
    function = verbs.run_verb if VERBS[verb].trains else verbs.look_by_verb

    def ask(*given: Any, verbose: bool = False, **fields: Any) -> Any:
        bare = VERBS[verb].bare
        first = {bare: given[0]} if bare and given else {}
        return function(verb, {**first, **fields}, verbose)

    ask.__name__ = ask.__qualname__ = name
    ask.__doc__ = VERBS[verb].summary
    return _describe(ask, verb)


def _spell(verb: str) -> str:
    """The verb's name in Python: `show rope` is show_rope."""
    return _OTHER_NAMES.get(verb, verb.replace(" ", "_"))


def _describe(function: Callable[..., Any], verb: str) -> Callable[..., Any]:
    """The same function, whose signature names the verb's fields: editors and help() show them."""
    own = inspect.signature(function)
    shown = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
    taken = {each.name for each in shown}
    for name, field in VERBS[verb].config.model_fields.items():
        if name not in taken:
            default = inspect.Parameter.empty if field.is_required() else field.default
            keyword = inspect.Parameter.KEYWORD_ONLY
            shown.append(inspect.Parameter(name, keyword, default=default))
    rest = [each for each in own.parameters.values() if each.kind is each.VAR_KEYWORD]
    vars(function)["__signature__"] = own.replace(parameters=[*shown, *rest])
    return function
