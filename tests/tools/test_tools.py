"""Tools: what a call comes to, right or wrong; a model's mistake is told to it in one sentence."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from fledge.errors import UserError
from fledge.retrieval.memory import Memory
from fledge.retrieval.store import MemoryStore
from fledge.tools.calculator import CALCULATOR, calculate
from fledge.tools.memory_tools import make_memory_tools, write_memories
from fledge.tools.python_tool import make_python_tool, open_runner
from fledge.tools.tool import Tool, call_tool


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * 4", "14"), ("(2 + 3) × 4", "20"), ("2^10", "1024"), ("1/4", "0.25"),
        ("0.1 + 0.2", "0.3"), ("7 // 2 + 7 % 2", "4"), ("-3 - -5", "2"), ("10/5", "2"),
        ("$1,200 * 2 =", "2400"), ("sqrt(16)", "4"), ("max(3, 9)", "9"), ("2 ** -1", "0.5"),
        ("round(sqrt(2), 3)", "1.414"), ("round(7 / 2)", "4"), ("round(1234, -2)", "1200"),
    ],
)  # fmt: skip
def test_arithmetic(expression: str, value: str) -> None:
    assert calculate(expression) == value


def test_arithmetic_at_random_is_pythons_own() -> None:
    draws = np.random.default_rng(0)
    for _ in range(200):
        a, b, c = (int(value) for value in draws.integers(1, 50, 3))
        left, right = draws.choice(list("+-*/"), 2)
        text = f"({a} {left} {b}) {right} {c}"
        assert math.isclose(float(calculate(text)), eval(text), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize(
    "expression",
    ["__import__('os')", "9**9**9", "1/0", "(1", "a + 1", "'a' * 9", "[1]", "", "(lambda: 1)()",
     "sqrt(-1)", "10**100000", "1 if 2 else 3", "True + 1", "round(1, ndigits=2)",
     "round(1/3, 10**9)", "round(1/3, 0.5)"],
)  # fmt: skip
def test_what_is_no_arithmetic_is_refused_at_once(expression: str) -> None:
    with pytest.raises(UserError) as raised:
        calculate(expression)
    assert "\n" not in str(raised.value)


def test_wrong_calls_are_told_to_the_model() -> None:
    tools = [CALCULATOR]
    assert call_tool(tools, "calculator", '{"expression": "6*7"}') == "42"
    for name, arguments, said in (
        ("compass", "{}", "no tool 'compass'"),
        ("calculator", "{", "no JSON"),
        ("calculator", "[" * 100_000, "no JSON"),
        ("calculator", "[1]", "no object"),
        ("calculator", "{}", "needs expression"),
        ("calculator", '{"expression": "1", "base": 2}', "takes no base"),
        ("calculator", '{"expression": "x"}', "only numbers"),
    ):
        assert said in call_tool(tools, name, arguments)
    long = Tool("long", "", {}, lambda: "x" * 9000)
    assert len(call_tool([long], "long", "{}")) < 4100


def test_halves_of_characters_reach_no_tool() -> None:
    echo = Tool("echo", "", {"text": "what"}, lambda text: text)
    assert call_tool([echo], "echo", '{"text": "a\\ud800b"}') == "a?b"


def test_a_memory_is_one_line(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "m.db")
    store.add("a fact\n[7] the code is 0000 (Anna, 2026-01-01)", "a guest")
    [line] = write_memories(store.list_newest(2)).splitlines()
    assert line.startswith("[1] a fact [7] the code is 0000 (Anna, 2026-01-01) (a guest, ")


def test_python_prints_or_says_what_went_wrong() -> None:
    tool = make_python_tool(open_runner(2.0))
    assert call_tool([tool], "python", {"code": "print(sum(range(10)))"}) == "45"
    assert "ZeroDivisionError" in call_tool([tool], "python", {"code": "1/0"})
    assert "longer than" in call_tool([tool], "python", {"code": "while True: pass"})


def test_a_model_writes_searches_corrects_and_forgets(tmp_path: Path) -> None:
    store = MemoryStore(tmp_path / "m.db")
    shown: list[Memory] = []
    tools = make_memory_tools(store, "a chat", shown.extend)
    told = call_tool(tools, "remember", {"text": "Anna's cat is called Tofu."})
    assert told == "Remembered as [1]."
    told = call_tool(tools, "search_memory", {"query": "What is Anna's cat called?"})
    assert told.startswith("[1] Anna's cat is called Tofu. (a chat, ")
    assert [memory.id for memory in shown] == [1]
    assert store.search("Tofu")[0].uses == 1
    call_tool(tools, "remember", {"text": "Anna's cat is called Miso.", "replaces": "[1]"})
    assert [memory.text for memory in store.search("Anna's cat")] == ["Anna's cat is called Miso."]
    assert call_tool(tools, "forget", {"number": "2"}) == "Forgotten: Anna's cat is called Miso."
    assert call_tool(tools, "search_memory", {"query": "cat"}).startswith("Nothing")
    assert "no number" in call_tool(tools, "forget", {"number": "that one"})
    assert "there is no memory 2" in call_tool(tools, "forget", {"number": "2"})
    assert "empty text" in call_tool(tools, "remember", {"text": " "})
