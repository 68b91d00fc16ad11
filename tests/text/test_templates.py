"""A chat template is a stranger's program: it ends, it stays small, and it reaches nothing."""

from __future__ import annotations

import time

import pytest

from fledge.errors import UserError
from fledge.text.templates import Template

ENDLESS = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% macro m(x) %}{{ m(x) }}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "{% set n = namespace(x='ab') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set n = namespace(x=[1]) %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "{% set ns = namespace(x=9) %}{% for i in range(99) %}{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "{{ 'a' * 10**9 }}", "{{ 10 ** 10000000000 }}", "{{ [0] * 999999999 }}",
    "{{ '%999999999d' % 1 }}", "{{ '%*d' % (999999999, 1) }}", "{{ 'a'.center(10**9) }}",
    "{{ 'a' | center(10**9) }}", "{{ 'a\\nb' | indent(10**9) }}", "{{ range(10**9) | list }}",
    "{% for a in range(100000) %}{{ 'abc' * 10000 }}{% endfor %}",
]  # fmt: skip
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.append(1) }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ raise_exception.__globals__['json'] }}",
    "{{ self._TemplateReference__context }}",
    "{% set ns = namespace(__class__=1) %}",
    "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% include 'other' %}",
    "{{ tojson.__self__ }}",
    "{{ (messages | tojson).format.__self__.__class__ }}",
]


@pytest.mark.parametrize("source", ENDLESS)
def test_a_template_without_an_end_is_one_sentence_soon(source: str) -> None:
    since = time.monotonic()
    with pytest.raises(UserError, match="the chat template of a model fails") as said:
        Template(source, "a model").render({})
    assert "\n" not in str(said.value)
    assert time.monotonic() - since < 20


@pytest.mark.parametrize("source", ESCAPES)
def test_a_template_reaches_nothing_outside(source: str) -> None:
    messages: list[int] = []
    try:
        text = Template(source, "a model").render({"messages": messages})
    except UserError:
        text = ""
    assert text.strip() == ""
    assert messages == []


@pytest.mark.parametrize(
    "source",
    ["{% for %}", "{{ a.b.c }}", "{{ 1 / 0 }}", "{{ 'a' + 1 }}", "{{ messages[3].role }}",
     "{{ none | tojson(3, 4, 5, 6, 7) }}", "{% nonsense %}", "{{ x | unheard }}"],
)  # fmt: skip
def test_a_template_that_fails_is_one_sentence(source: str) -> None:
    with pytest.raises(UserError, match="the chat template of a model fails") as said:
        Template(source, "a model").render({"messages": []})
    assert "\n" not in str(said.value)


def test_a_refusal_is_said_in_the_template_s_own_words() -> None:
    template = Template("{{ raise_exception('No ' ~ messages[0]) }}", "a model")
    with pytest.raises(UserError, match="of a model refuses this conversation: No system"):
        template.render({"messages": ["system"]})


def test_what_is_honest_passes() -> None:
    source = (
        "{% for a in range(300) %}{% for b in range(300) %}{% if b > 1 %}{% break %}{% endif %}"
        "{% endfor %}{% endfor %}{{ 'ab' * 3 }}{{ 7 % 3 }}{{ '%s-%03d' % ('a', 5) }}"
        "{{ {'ü': '<&>'} | tojson }}{{ {'b': 1, 'a': 2} | tojson(indent=1, sort_keys=true) }}"
        "{{ 'x' ~ 1 ~ none }}{{ 'a\nb' | indent(2) }}{{ [1] + [2] }}{{ dict(a=1) }}"
    )
    text = 'ababab1a-005{"ü": "<&>"}{\n "a": 2,\n "b": 1\n}x1Nonea\n  b[1, 2]{\'a\': 1}'
    assert Template(source, "a model").render({}) == text


def test_a_template_renders_again_after_it_failed() -> None:
    template = Template(
        "{% for a in range(n) %}{% for b in range(n) %}{% endfor %}{% endfor %}ok", "m"
    )
    with pytest.raises(UserError):
        template.render({"n": 100_000})
    assert template.render({"n": 10}) == "ok"
