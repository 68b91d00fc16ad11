"""Constraints by what they are given: a regular expression, choices, a JSON schema or a grammar."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fledge.engine.constraint import MOST_COUNTED, Constraint, explain_unsaid, silence
from fledge.engine.patterns import shorten, translate_pattern, write_class, write_text
from fledge.engine.vocabulary import Vocabulary
from fledge.errors import UserError

# White space of JSON at each place that may have some: without a bound a model that is unsure goes
# on with it until its room is used up.
WHITE_SPACE = r"[ \t\n\r]{1,32}"
EVERY_CHARACTER = [(0, sys.maxunicode)]


def regex(pattern: str, vocabulary: Vocabulary, stop: Collection[int]) -> Constraint:
    """The whole text said matches the pattern, read as `re.fullmatch(pattern, text, re.ASCII)`
    reads it.

    stop: the tokens that end a row; what bytes they have is not said. Raises UserError for a
    pattern that does not parse, is not regular, is too large, or cannot be said in this vocabulary.
    """
    body, vocabulary = translate_pattern(pattern), silence(vocabulary, stop)
    what = f"the pattern {shorten(pattern)}"
    return Constraint(_write_regular(body, vocabulary), vocabulary, stop, what)


def choice(options: Sequence[str], vocabulary: Vocabulary, stop: Collection[int]) -> Constraint:
    """The whole text said is one of the options; one that the vocabulary cannot say is never
    chosen.

    Of lists beyond 20,000 bytes that holds for the shortest; another may begin, and come to a dead
    end. Raises UserError for an empty list, or if the vocabulary can say none of them.
    """
    if not options:
        raise UserError("an empty list of choices was given: give one option or more.")
    vocabulary = silence(vocabulary, stop)
    least: dict[str, int] = {}
    counted = 0
    for option in sorted(options, key=len):
        try:
            said = option.encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"the choice {error.object!r} holds half of a surrogate pair, which UTF-8 cannot "
                "write."
            ) from None
        counted += len(said)
        if counted <= MOST_COUNTED:
            tokens = vocabulary.count_least(said, whole=True)
        else:
            tokens = -(-len(said) // vocabulary.longest)
        if tokens is not None:
            least[option] = tokens
    if not least:
        raise explain_unsaid(f"any of the {len(options)} choices", vocabulary)
    body = "|".join(map(write_text, least))
    what = f"the list of {len(options)} choices"
    grammar = _write_regular(body, vocabulary)
    return Constraint(grammar, vocabulary, stop, what, min(least.values()))


def json_schema(
    schema: Mapping[str, Any] | bool, vocabulary: Vocabulary, stop: Collection[int]
) -> Constraint:
    """The whole text said is JSON of this schema (draft 2020-12), its properties in the schema's
    order, with white space where JSON may have some.

    Raises UserError for a schema that nothing meets, or with keywords that cannot be followed; its
    "x-guidance" are options of llguidance's, such as {"lenient": true}, which ignores those.
    """
    rule = f"start: {write_json(schema)}"
    return Constraint(rule, vocabulary, stop, "the JSON schema")


def json_object(vocabulary: Vocabulary, stop: Collection[int]) -> Constraint:
    """The whole text said is a JSON object."""
    return json_schema({"type": "object"}, vocabulary, stop)


def grammar(rules: str, vocabulary: Vocabulary, stop: Collection[int]) -> Constraint:
    """The whole text said is what the rule `start` derives, in Lark's syntax with llguidance's
    additions (https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md).

    Raises UserError for a grammar that does not parse or derives nothing.
    """
    return Constraint(rules, vocabulary, stop, "the grammar")


def write_json(schema: Mapping[str, Any] | bool) -> str:
    """A schema as a grammar has it. Raises UserError for one that JSON cannot write."""
    if isinstance(schema, Mapping):
        given = schema.get("x-guidance", {})
        own = given if isinstance(given, Mapping) else {}
        schema = {**schema, "x-guidance": {"whitespace_pattern": WHITE_SPACE, **own}}
    elif not isinstance(schema, bool):
        raise UserError(
            f"the JSON schema is {shorten(str(schema))}: it must be an object, such as "
            '{"type": "object"}.'
        )
    try:
        return "%json " + json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"the JSON schema cannot be written as JSON ({error}).") from None
    except RecursionError:
        raise UserError("the JSON schema is nested too deeply: flatten it.") from None


def _write_regular(body: str, vocabulary: Vocabulary) -> str:
    """Texts that match, and of these those that can be said: none leads into a dead end."""
    alphabet = vocabulary.alphabet
    if alphabet in (None, EVERY_CHARACTER):
        return f"start: /{body or '(?:)'}/"
    letters = write_class(alphabet)
    return f"start: TEXT\nTEXT: /{body or '(?:)'}/ & /{letters}*/"
