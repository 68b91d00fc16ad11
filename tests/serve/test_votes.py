"""The files that votes and thumbs go into are those that `fledge prefer` learns from."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from fledge.rows.census import Census, Reading
from fledge.rows.preferences import read_judged, read_preference
from fledge.serve.api_errors import ApiError
from fledge.serve.votes import ThumbBody, VoteBody, VoteFile, make_judged_answer, make_preference
from fledge.text.files import json_rows
from tests.cli.commands import process
from tests.serve.parrots import make_parrot, make_tokenizer


def vote(number: int, preferred: int) -> dict[str, Any]:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": f"question {number}"},
    ]
    body = VoteBody.model_validate(
        {"messages": messages, "answers": ["left", "right"], "preferred": preferred,
         "models": ["a", "b"], "seeds": [3, 4]}
    )  # fmt: skip
    return make_preference(body)


def thumb(number: int, label: bool) -> dict[str, Any]:
    messages = [
        {"role": "user", "content": f"question {number}"},
        {"role": "assistant", "content": f"answer {number}"},
    ]
    return make_judged_answer(
        ThumbBody.model_validate({"model": "a", "messages": messages, "label": label})
    )


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """From as many threads as there are rows, as a server's are."""
    file = VoteFile(path, "votes")
    threads = [threading.Thread(target=file.add, args=(row,)) for row in rows]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_a_vote_is_a_pair_whose_better_side_is_the_one_that_was_chosen(tmp_path: Path) -> None:
    write(tmp_path / "votes.jsonl", [vote(number, number % 2) for number in range(20)])
    census = Census("votes", Reading(), rows="pairs")
    rows = [row for _, row in json_rows(tmp_path / "votes.jsonl")]
    assert len(rows) == 20
    for row in rows:
        pair = read_preference(row, "a row", census)
        number = int(pair.prompt[1]["content"].split()[1])
        sides = ("left", "right") if number % 2 == 0 else ("right", "left")
        assert (pair.preferred["content"], pair.rejected["content"]) == sides
        assert row["metadata"]["models"] == (["a", "b"] if number % 2 == 0 else ["b", "a"])
        assert pair.prompt[0]["role"] == "system"


def test_a_thumb_is_an_answer_with_a_verdict(tmp_path: Path) -> None:
    write(tmp_path / "thumbs.jsonl", [thumb(number, number % 2 == 0) for number in range(6)])
    census = Census("thumbs", Reading(), rows="answers")
    for _, row in json_rows(tmp_path / "thumbs.jsonl"):
        judged = read_judged(row, "a row", census)
        number = int(judged.answer["content"].split()[1])
        assert judged.prompt[0]["content"] == f"question {number}"
        assert judged.wanted == (number % 2 == 0)


def test_a_file_that_is_full_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    file = VoteFile(path, "votes")
    file.add(vote(0, 0))
    with path.open("r+b") as grown:  # a hole of zeros takes no room on the disk
        grown.truncate(1_000_000_000)
    with pytest.raises(ApiError, match="another one") as refused:
        file.add(vote(1, 0))
    assert refused.value.status == 507
    assert path.stat().st_size == 1_000_000_000


@pytest.mark.slow
def test_prefer_learns_from_both_files(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("left right question answer be brief")
    make_parrot(tokenizer, "left", steps=5).save(tmp_path / "base")
    write(tmp_path / "votes.jsonl", [vote(number, number % 2) for number in range(60)])
    write(tmp_path / "thumbs.jsonl", [thumb(number, number % 2 == 0) for number in range(60)])
    for file, algorithm in (("votes", "dpo"), ("thumbs", "kto")):
        done = process(
            "prefer", "base=base", f"data={file}.jsonl", f"algorithm={algorithm}", "steps=2",
            "pairs_per_step=8", f"out={algorithm}", "compile=no", "--json", folder=tmp_path,
        )  # fmt: skip
        assert done.code == 0, done.stderr
        assert (tmp_path / algorithm / "model" / "model.safetensors").is_file()
