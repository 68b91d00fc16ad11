"""`fledge ask`, `fledge study` and `fledge recall` as a user types them, against a scripted
endpoint whose every answer is known.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.cli.commands import Cli, Models
from tests.prompting.scripted import ScriptedEndpoint, last_of

SUMS = [{"question": f"{a} + {a}?", "answer": f"Twice {a}. #### {2 * a}"} for a in range(2, 14)]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def add_up(body: dict[str, Any]) -> str:
    """Right after examples and in programs; alone only where the sum has one digit."""
    asked = re.findall(r"(\d+) \+ (\d+)\?", last_of(body))[-1]
    total = int(asked[0]) + int(asked[1])
    if "Python program" in last_of(body):
        return f"```python\nprint({asked[0]} + {asked[1]})\n```"
    if len(body["messages"]) > 1:
        return f"Twice {asked[0]}.\nThe answer is {total}."
    return str(total if total < 10 else total + 1)


def test_programs_side_by_side(cli: Cli, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "sums.jsonl", SUMS)
    with ScriptedEndpoint(add_up) as endpoint:
        words = ["ask", endpoint.url, f"data={data}", "shots=2", "out=said.jsonl",
                 "prompting=zero_shot,few_shot_cot,program_aided"]  # fmt: skip
        done = cli([*words, "--json"], folder=tmp_path).result
        shown = cli(words, folder=tmp_path).stdout
    programs = done["programs"]
    assert done["questions"] == 10  # the two that are shown are not asked
    # 4 + 4 is right alone, 5 + 5 is not
    assert {name: one["right"] for name, one in programs.items()} == {
        "zero_shot": 0.1, "few_shot_cot": 1.0, "program_aided": 1.0,
    }  # fmt: skip
    assert programs["few_shot_cot"]["against_first"][0] == pytest.approx(0.9)
    assert programs["zero_shot"]["interval"][1] < 0.5
    rows = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert len(rows) == 30
    assert rows[-1]["turns"][-1] == {"role": "tool", "content": rows[-1]["wanted"]}
    assert "few_shot_cot   100.0% right" in shown
    assert "+90.0 points" in shown


def test_one_question(cli: Cli, models: Models, tmp_path: Path) -> None:
    with ScriptedEndpoint(add_up) as endpoint:
        done = cli(["ask", endpoint.url, "question=4 + 4?"], folder=tmp_path)
    assert (done.code, done.stdout) == (0, "8\n")
    own = cli(models.fill("ask {tune} question=hi max_new_tokens=4 --json"), folder=tmp_path)
    assert own.result["programs"]["zero_shot"]["calls"] == 1


def test_react_searches_a_memory(cli: Cli, tmp_path: Path) -> None:
    from fledge.retrieval.store import MemoryStore

    MemoryStore(tmp_path / "m.db").add("The ship Balan carries tin.", "a book")

    def script(body: dict[str, Any]) -> str:
        if "carries tin" in last_of(body):
            return "Action: finish[tin]"
        return "Action: search[What does the Balan carry?]"

    with ScriptedEndpoint(script) as endpoint:
        words = ["ask", endpoint.url, "question=cargo?", "prompting=react", "memory=m.db", "--json"]
        answer = cli(words, folder=tmp_path).result["programs"]["react"]
    assert (answer["answer"], answer["calls"]) == ("tin", 2)


def label_by_last(body: dict[str, Any]) -> str:
    """Right where the last example is a good one; else it says `good` of everything."""
    *_, shown, asked = body["prompt"].split("\n\n")
    true = "good" if "fine" in asked else "bad"
    return f" {true}\nText: more" if shown.endswith("good") else " GOOD"


def label_alone(body: dict[str, Any]) -> str:
    return "good" if "fine" in body["prompt"].rpartition("\n\n")[2] else "bad"


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [
        {"text": f"film {i} is {'fine' if i % 2 else 'dull'}", "label": "good" if i % 2 else "bad"}
        for i in range(60)
    ]
    return write_rows(tmp_path_factory.mktemp("reviews") / "reviews.jsonl", rows)


def test_a_study_sees_an_effect_and_none(cli: Cli, reviews: Path, tmp_path: Path) -> None:
    words = f"data={reviews} shots=4 sets=5 orders=4 questions=12"
    with ScriptedEndpoint(label_by_last) as endpoint:
        seen = cli(["study", "order", f"base={endpoint.url}", *words.split()], folder=tmp_path)
    assert re.search(r"  seen \(p = 0\.0005\): \+\d", seen.stdout), seen.stdout
    page = (tmp_path / "study.html").read_text()
    assert "Order matters." in page
    assert "film " in page  # an example of a prompt
    with ScriptedEndpoint(label_alone) as endpoint:
        few = f"data={reviews} shots=4 sets=2 orders=2 questions=10"
        command = ["study", "all", f"base={endpoint.url}", *few.split(), "--json"]
        told = cli(command, folder=tmp_path).result["studies"]
    assert [one["seen"] for one in told.values()] == [False] * 4
    assert told["order"]["effect"] == 0
    assert told["random_labels"]["conditions"][1]["right"] == 1


def test_what_is_no_label_is_counted(cli: Cli, reviews: Path, tmp_path: Path) -> None:
    with ScriptedEndpoint(lambda _: "I would rather not") as endpoint:
        words = f"data={reviews} shots=4 sets=2 orders=2 questions=10 --json"
        command = ["study", "order", f"base={endpoint.url}", *words.split()]
        told = cli(command, folder=tmp_path).result["studies"]["order"]
    assert (told["unread"], told["conditions"][0]["right"]) == (1, 0)


def test_recall_reads_what_is_remembered(cli: Cli, tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> str:
        """Goes by the first memory that it is shown; without one it guesses."""
        first = re.search(r"\[\d+\] (.*?)\. \(fledge recall", last_of(body))
        return first[1].split()[-1] if first else "Nobody knows."

    with ScriptedEndpoint(script) as endpoint:
        words = ["recall", endpoint.url, "questions=24", "others=2000"]
        told = cli([*words, "--json"], folder=tmp_path).result
    assert told["without"]["right"] == 0
    assert (told["with"]["right"], told["with"]["looked_up"]) == (1, 1)
    assert told["with_others"]["looked_up"] == 1
    assert told["with_others"]["right"] > 0.9


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("ask {tune}", "question=… or data=FILE, one of them"),
        ("ask {tune} question=hi prompting=reactt", "Perhaps you meant react"),
        ("ask {tune} question=hi prompting=few_shot", "shows 4 questions with answers, and 0"),
        ("ask {tune} question=hi paths=3", "`paths` is no field"),
        ("ask {tune} data=nowhere.jsonl", "nowhere.jsonl"),
        ("ask {tune} question=hi served_model=x", "is a folder: leave it out"),
        ("ask http://127.0.0.1:9 question=hi precision=bf16", "leave it out"),
        ("study order base={tune} data={rows}", "line 1"),
        ("study orders base={tune} data={rows}", "study=orders cannot be"),
        ("recall {tune} facts={rows}", "lacks one of `fact`"),
        ("chat {tune} memory_most=5", "memory_most was given without memory=FILE"),
        ("chat {tune} memory={text}", "not a database"),
        ("chat {tune} memory=m.db", "the context has 64: give memory_tools=false"),
        ("serve {tune} memory=m.db port=0", "the context has 64: give memory_tools=false"),
    ],
)
def test_mistakes_are_one_sentence(
    command: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert said in cli(models.fill(command), folder=tmp_path).complaint
