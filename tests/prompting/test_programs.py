"""Every prompting program against a scripted endpoint: what it asks, and what it makes of answers
that are known.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from fledge.errors import UserError
from fledge.prompting.endpoint import EndpointSpeaker
from fledge.prompting.program import Answered, Asking
from fledge.prompting.questions import Question
from fledge.prompting.registry import PROGRAMS, find_programs
from fledge.prompting.speaker import Saying
from fledge.tools.calculator import CALCULATOR
from fledge.tools.python_tool import RunPrograms, make_python_tool, open_runner
from tests.prompting.scripted import Script, ScriptedEndpoint, last_of

SHOWN = (Question("1+1?", "2", "One and one."), Question("2+2?", "4", "Two and two."))


@pytest.fixture(scope="module")
def run() -> RunPrograms:
    return open_runner(5.0)


def ask(
    name: str, script: Script, questions: list[str], run: RunPrograms, **fields: Any
) -> tuple[list[Answered], list[dict[str, Any]]]:
    program = PROGRAMS[name]
    with ScriptedEndpoint(script) as endpoint:
        asking = Asking(
            EndpointSpeaker(endpoint.url), SHOWN, Saying(64, seed=7),
            (CALCULATOR, make_python_tool(run)), run,
        )  # fmt: skip
        answered = program.answer(asking, questions, program.settings(**fields))
    return answered, endpoint.bodies


def test_zero_shot_asks_the_question_alone(run: RunPrograms) -> None:
    replies = {"3+4?": "7", "Capital?": "Well.\nThe answer is Paris."}
    answered, bodies = ask("zero_shot", lambda b: replies[last_of(b)], list(replies), run)
    assert [one.answer for one in answered] == ["7", "Paris"]
    assert all(len(body["messages"]) == 1 and body["temperature"] == 0 for body in bodies)


def test_few_shot_shows_answers_and_no_reasoning(run: RunPrograms) -> None:
    [one], [body] = ask("few_shot", lambda _: "9", ["4+5?"], run)
    roles = [(turn["role"], turn["content"]) for turn in body["messages"]]
    assert roles == [
        ("user", "1+1?"), ("assistant", "2"), ("user", "2+2?"), ("assistant", "4"),
        ("user", "4+5?"),
    ]  # fmt: skip
    assert one.answer == "9"


def test_persona_is_the_systems_turn(run: RunPrograms) -> None:
    _, [body] = ask("persona", lambda _: "Arr", ["Who?"], run, persona="You are a pirate.")
    assert body["messages"][0] == {"role": "system", "content": "You are a pirate."}


def test_zero_shot_cot_asks_twice(run: RunPrograms) -> None:
    """Kojima et al.: the reasoning, then the answer out of it."""

    def script(body: dict[str, Any]) -> str:
        if len(body["messages"]) == 1:
            assert last_of(body) == "3+4?\n\nLet's think step by step."
            return "Three and four make 7."
        assert body["messages"][1]["content"] == "Three and four make 7."
        assert last_of(body).startswith("Therefore")
        return "7"

    [one], _ = ask("zero_shot_cot", script, ["3+4?"], run)
    assert (one.answer, one.calls) == ("7", 2)


def test_few_shot_cot_shows_reasoning_that_ends_in_the_answer(run: RunPrograms) -> None:
    said = "Three and four.\nThe answer is 7.\nNext: 8"
    [one], [body] = ask("few_shot_cot", lambda _: said, ["3+4?"], run)
    assert body["messages"][1]["content"] == "One and one.\nThe answer is 2."
    assert one.answer == "7"


def test_self_consistency_takes_the_answer_of_most(run: RunPrograms) -> None:
    """By value: 7, 7.0 and "$7" are one answer. Five draws of one prompt have five seeds."""
    queue = iter(["The answer is 8.", "The answer is 7.", "The answer is $7.", "hm",
                  "The answer is 7.0."])  # fmt: skip
    seeds: set[int] = set()

    def script(body: dict[str, Any]) -> str:
        seeds.add(body["seed"])
        assert body["temperature"] == 0.7
        return next(queue)

    [one], bodies = ask("self_consistency", script, ["3+4?"], run, paths=5)
    assert one.answer in ("7", "$7", "7.0")
    assert one.calls == len(bodies) == len(seeds) == 5


def test_self_refine_mends_until_it_finds_nothing(run: RunPrograms) -> None:
    def script(body: dict[str, Any]) -> str:
        asked, turns = last_of(body), body["messages"]
        good = turns[0]["content"] == "good?"
        if asked.startswith("Check"):
            right = good or turns[-2]["content"] == "The answer is 7."
            return "**Correct.**" if right else "Correction: add again."
        if asked.startswith("Answer the question again"):
            return "The answer is 7."
        return "The answer is yes." if good else "The answer is 8."

    answered, bodies = ask("self_refine", script, ["good?", "3+4?"], run, rounds=3)
    assert [(one.answer, one.calls) for one in answered] == [("yes", 2), ("7", 4)]
    assert len(bodies) == 6  # where nothing is wrong nothing more is asked
    once, _ = ask("self_refine", script, ["3+4?"], run, rounds=1)
    assert once[0].answer == "7"


def test_program_aided_runs_what_was_written_and_shows_errors(run: RunPrograms) -> None:
    def script(body: dict[str, Any]) -> str:
        asked = body["messages"][0]["content"]
        if "eggs" in asked and len(body["messages"]) == 1:
            return "```python\nprint(12 *)\n```"
        if "eggs" in asked:
            assert "SyntaxError" in last_of(body)
            return "Sorry:\n```python\ntotal = 12 * 3\nprint('eggs')\nprint(total)\n```"
        return "I would rather not."

    answered, _ = ask("program_aided", script, ["12 boxes of 3 eggs?", "no?"], run, tries=2)
    assert [(one.answer, one.calls) for one in answered] == [("36", 2), ("", 2)]


def test_react_calls_tools_and_never_hears_its_own_observations(run: RunPrograms) -> None:
    def script(body: dict[str, Any]) -> str:
        told = last_of(body).rpartition("Question: ")[2]
        if "Observation 1: 51" not in told:
            return "Thought 1: multiply\nAction 1: calculator[17 * 3]\nObservation 1: 52\nno"
        if "Observation 2: [51]" not in told:
            assert "52" not in told
            return "Thought 2: list\nAction 2: python[print([51])]"
        if "there is no tool" not in told:
            return "Action 3: oracle[what]"
        return "Action 4: finish[51]\nand more"

    [one], _ = ask("react", script, ["17 times 3?"], run)
    assert (one.answer, one.calls) == ("51", 4)


def test_react_ends_with_its_steps(run: RunPrograms) -> None:
    [one], bodies = ask("react", lambda _: "Thought: hm", ["why?"], run, steps=3)
    assert (one.answer, len(bodies)) == ("", 3)


def test_structured_asks_for_its_schema_and_reads_the_answer(run: RunPrograms) -> None:
    replies = {"a": '{"reasoning": "…", "answer": "7"}', "b": '{"reasoning": "cut', "c": "[]"}
    answered, bodies = ask(
        "structured", lambda b: replies[last_of(b)[-1]], ["q a", "q b", "q c"], run
    )
    assert [one.answer for one in answered] == ["7", "", ""]
    schema = bodies[0]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["reasoning", "answer"]
    json.dumps(schema)


def test_an_endpoint_that_fails_is_asked_again_and_one_that_refuses_is_not() -> None:
    codes = iter([500, 429])
    with ScriptedEndpoint(lambda _: next(codes, "yes")) as endpoint:
        assert EndpointSpeaker(endpoint.url).say(["a"], Saying()) == ["yes"]
        assert len(endpoint.bodies) == 3
    with ScriptedEndpoint(lambda _: 400) as endpoint:
        with pytest.raises(UserError, match=r"refused /v1/completions \(HTTP 400"):
            EndpointSpeaker(endpoint.url).say(["a"], Saying())
        assert len(endpoint.bodies) == 1


def test_an_endpoint_gets_the_key_and_the_models_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "open sesame")
    with ScriptedEndpoint(lambda _: "yes", models=("one", "two")) as endpoint:
        with pytest.raises(UserError, match=r"serves 2 models \(one, two\)"):
            EndpointSpeaker(endpoint.url)
        EndpointSpeaker(f"{endpoint.url}/v1", "two").say([[{"role": "user", "content": "a"}]],
                                                         Saying())  # fmt: skip
    assert endpoint.headers[0]["Authorization"] == "Bearer open sesame"
    assert endpoint.bodies[0]["model"] == "two"


def test_programs_by_name() -> None:
    assert [each.name for each in find_programs("react, zero_shot")] == ["react", "zero_shot"]
    assert len(find_programs("all")) == 10
    for wrong, said in (("zero_shoot", "Perhaps you meant zero_shot"), ("", "name programs"),
                        ("react,react", "each once")):  # fmt: skip
        with pytest.raises(UserError, match=said):
            find_programs(wrong)
