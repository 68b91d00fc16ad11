"""A person is asked which of two answers is better, on the page and over HTTP: the most telling
pair first, kept as rows that `fledge prefer` reads, and known again after a restart.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.rows.preferences import read_preference
from fledge.serve.api_errors import ApiError
from fledge.serve.comparisons import (
    ComparedBody,
    Comparisons,
    open_comparisons,
    read_comparisons,
)
from fledge.serve.votes import VoteFile
from tests.serve.chromium import Watched, start_browser
from tests.serve.process import start_server


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_pairs(count: int = 12) -> list[dict[str, Any]]:
    """Pairs of which all but the last differ in the same words."""
    rows = [
        {"prompt": f"day {i}?", "chosen": "sunny warm", "rejected": "rainy cold"}
        for i in range(count - 1)
    ]
    return [*rows, {"prompt": "new?", "chosen": "loud music", "rejected": "quiet reading"}]


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def open_all(folder: Path) -> Comparisons:
    votes = folder / "votes.jsonl"
    return read_comparisons(folder / "pairs.jsonl", votes, VoteFile(votes, "votes"))


def answer(kept: Comparisons, name: str, preferred: int | None, choice: str = "bald") -> None:
    body = {"pair": name, "preferred": preferred, "choice": choice}
    kept.answer(ComparedBody.model_validate(body))


def prefer(kept: Comparisons, name: str, text: str) -> None:
    pair = kept.pairs[kept.place[name]]
    answer(kept, name, pair.answers.index(text))


def test_what_was_said_of_its_like_is_asked_about_last(tmp_path: Path) -> None:
    """After a few answers about one pair of words, the pair with other words tells most; choosing
    by chance does not know that.
    """
    write(tmp_path / "pairs.jsonl", make_pairs())
    kept = open_all(tmp_path)
    for pair in list(kept.pairs[:4]):
        prefer(kept, pair.key, "sunny warm")
    best = kept.choose("bald")
    assert best is not None
    assert best.prompt[0]["content"] == "new?"
    drawn = {pair.prompt[0]["content"] for _ in range(12) if (pair := kept.choose("random"))}
    assert len(drawn) > 1


def test_a_restart_knows_what_was_said_and_skipped(tmp_path: Path) -> None:
    write(tmp_path / "pairs.jsonl", make_pairs())
    kept = open_all(tmp_path)
    names = [pair.key for pair in kept.pairs]
    prefer(kept, names[0], "sunny warm")
    prefer(kept, names[1], "sunny warm")
    answer(kept, names[2], None)
    again = open_all(tmp_path)
    assert again.tell() == kept.tell()
    assert (again.tell()["answered"], again.tell()["left"]) == (2, 9)
    learned = again.fit().posterior.mean
    assert learned.equal(kept.fit().posterior.mean)
    assert float(learned.abs().max()) > 0
    with pytest.raises(ApiError, match="answered already"):
        answer(again, names[2], 0)
    # The same rows are what `fledge prefer` reads; what was foreseen is told.
    census = Census("votes", Reading(), rows="pairs")
    rows = read(tmp_path / "votes.jsonl")
    for row in rows:
        pair = read_preference(row, "a row", census)
        assert (pair.preferred["content"], pair.rejected["content"]) == ("sunny warm", "rainy cold")
    assert rows[0]["metadata"] == {"chosen_by": "bald", "chance": 0.5}
    assert rows[1]["metadata"]["chance"] > 0.55


def test_votes_in_another_shape_and_a_torn_line_are_read(tmp_path: Path) -> None:
    """Of a file that somebody has begun by hand, and a server's that was killed as it wrote."""
    rows = make_pairs()
    write(tmp_path / "pairs.jsonl", rows)
    same = {"prompt": "day 3?", "chosen": "alike", "rejected": "alike"}
    write(tmp_path / "votes.jsonl", [rows[0] | {"metadata": "by hand"}, same])
    with (tmp_path / "votes.jsonl").open("a") as file:
        file.write('{"prompt": [{"role": "us')
    kept = open_all(tmp_path)
    assert (kept.tell()["answered"], kept.tell()["left"]) == (1, 11)
    prefer(kept, kept.pairs[1].key, "sunny warm")
    assert len(read(tmp_path / "votes.jsonl")) == 3


def test_which_side_is_shown_first_tells_nothing(tmp_path: Path) -> None:
    """Of 200 pairs whose file has the better answer first, fair sides are apart from 100 by more
    than 36 with a chance of 3e-7.
    """
    rows = [{"prompt": f"{i}?", "chosen": "good", "rejected": "bad"} for i in range(200)]
    write(tmp_path / "pairs.jsonl", rows)
    first = sum(pair.answers[0] == "good" for pair in open_all(tmp_path).pairs)
    assert 64 <= first <= 136


def test_a_person_compares_on_the_page_and_a_restart_goes_on(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    """Three pairs of a file and three prompts that the served model answers twice each: two pairs
    judged and one skipped in a browser, and one by HTTP from a server that is started again.
    """
    hostile = '<img src=x onerror="hacked=1">'
    rows = [
        {"prompt": "one?", "chosen": "**left** answer", "rejected": hostile},
        {"prompt": "two?", "chosen": "this", "rejected": "that"},
        {"prompt": "three?", "chosen": "here", "rejected": "there"},
        *({"prompt": f"cat {i}"} for i in range(3)),
    ]
    pairs, votes = write(tmp_path / "pairs.jsonl", rows), tmp_path / "votes.jsonl"
    asked: list[str] = []
    fields = {"compare": pairs, "votes": votes, "context": 64, "slots": 8}
    with start_browser() as browser, start_server(folders["one"], **fields) as server:
        seen = Watched(browser, viewport={"width": 1180, "height": 800})
        page = seen.page

        def note() -> None:
            page.get_by_role("button", name="A is better").wait_for()
            asked.append(page.locator("#compare .asked .said").inner_text())

        page.goto(server.url)
        page.get_by_role("link", name="Compare").click()
        note()
        page.get_by_role("button", name="A is better").click()
        page.get_by_text("1 answered, 5 left").wait_for()
        page.get_by_label("Next by").select_option("random")
        note()
        page.get_by_label("Next by").blur()
        page.keyboard.press("b")
        page.get_by_text("2 answered, 4 left").wait_for()
        note()
        page.get_by_role("button", name="Skip").click()
        page.get_by_text("2 answered, 3 left").wait_for()
        note()
        if picture := os.environ.get("FLEDGE_PICTURES"):
            page.screenshot(path=f"{picture}/compare.png")
        assert not page.evaluate("() => 'hacked' in window")
        assert seen.troubles == []
        assert {host.split(":")[0] for host in seen.hosts} == {"127.0.0.1"}
    written = read(tmp_path / "votes.asked.jsonl")
    drawn = {row["prompt"][0]["content"]: row["answers"] for row in written if "prompt" in row}
    assert set(drawn) == {"cat 0", "cat 1", "cat 2"}
    for (first, second), row in zip(drawn.values(), written, strict=False):
        assert first != second
        assert abs(row["seeds"][0] - row["seeds"][1]) == 1
    said = read(votes)
    assert [row["prompt"][0]["content"] for row in said] == asked[:2]
    assert [row["metadata"]["chosen_by"] for row in said] == ["bald", "random"]

    with start_server(folders["one"], **fields) as server:
        client = httpx.Client(base_url=server.url, timeout=60)
        told = client.post("/fledge/compare", json={}).raise_for_status().json()
        assert (told["answered"], told["left"], told["prompts"]) == (2, 3, 0)
        pair = told["pair"]
        assert pair["messages"][0]["content"] not in asked[:3]
        body = {"pair": pair["name"], "preferred": 1}
        assert client.post("/fledge/compared", json=body).json()["answered"] == 3
        assert client.post("/fledge/compared", json=body).status_code == 409
        assert client.post("/fledge/compared", json={**body, "pair": "x"}).status_code == 404
    row = read(votes)[-1]
    assert row["chosen"][0]["content"] == pair["answers"][1]
    assert row["rejected"][0]["content"] == pair["answers"][0]


@pytest.mark.parametrize(
    ("row", "votes", "said"),
    [
        ({"prompt": "a?"}, None, "give votes=votes.jsonl too"),
        ({"prompt": "a?"}, "pairs.jsonl", "give each a file of its own"),
        ({"question": "a?"}, "votes.jsonl", "has no `prompt`"),
        ({"prompt": "a?", "chosen": "b", "rejected": "b"}, "votes.jsonl", "no pair and no prompt"),
    ],
)
def test_a_mistake_is_one_sentence(
    row: dict[str, Any], votes: str | None, said: str, tmp_path: Path
) -> None:
    pairs = write(tmp_path / "pairs.jsonl", [row])
    with pytest.raises(UserError, match=said):
        open_comparisons(pairs, None if votes is None else tmp_path / votes)
