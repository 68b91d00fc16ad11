"""`fledge chat` at a real terminal: history, commands, the line editor, Ctrl-C."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from tests.cli.at_a_terminal import CTRL_C, CTRL_D, Person
from tests.cli.commands import Cli
from tests.subjects import go_on_greedily, transformer

from fledge.hub.folder import load_model, save_model
from fledge.text.own_tokenizers import train_tokenizer

NEW = 6


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never comes to an end: of the tokens that end, all logits are 0."""
    folder = tmp_path_factory.mktemp("speaker")
    tokenizer = train_tokenizer("bytes", ["a"])
    network = transformer(3, vocab_size=tokenizer.vocab_size, context=8192)
    with torch.no_grad():
        network.embedding.weight[sorted(tokenizer.ends)] = 0.0
    save_model(folder / "model", network, tokenizer)
    return folder / "model"


def greedy(model: Path, messages: Sequence[tuple[str, str]]) -> str:
    """The likeliest answer to a conversation written out by hand."""
    loaded = load_model(model)
    turns = [{"role": role, "content": content} for role, content in messages]
    ids, _ = loaded.tokenizer.render(turns, reply=True)  # pyright: ignore[reportArgumentType]
    return loaded.tokenizer.decode(go_on_greedily(loaded, ids, NEW))


def test_a_conversation_goes_on_is_edited_and_saved(speaker: Path, tmp_path: Path) -> None:
    with Person(["chat", f"base={speaker}", f"max_new_tokens={NEW}"], tmp_path) as person:
        person.wait()
        person.ask("hello")
        person.ask("and you")
        person.ask("/edit say it again")
        assert "/temperature 0.8" in person.ask("/retry")  # nothing is drawn
        assert person.ask("/system Be kind.") == "(system: Be kind.)"
        person.ask("more")
        assert "(saved: talk.jsonl)" in person.ask("/save talk.jsonl")
        person.ask("  ")  # neither an answer nor the end
        assert "(saved: talk.jsonl)" in person.ask("/save talk.jsonl")
        (tmp_path / "other").write_text("mine")
        assert "is there already" in person.ask("/save other")
        assert "cannot be written (No such file or directory)" in person.ask("/save no/where")
        assert "Perhaps you meant /retry" in person.ask("/rety")
        assert "must be 0 (greedy) or more" in person.ask("/temperature -1")
        assert "takes a number" in person.ask("/temperature warm")
        assert person.ask("/temperature 0.5") == "(temperature 0.5)"
        assert "/edit [TEXT]" in person.ask("/help")
        person.ask("/new")
        assert "nothing has been answered yet" in person.ask("/retry")
        person.type(CTRL_D)
        assert person.leave()[1] == 0
    [row] = map(json.loads, (tmp_path / "talk.jsonl").read_text().splitlines())
    said = [(turn["role"], turn["content"]) for turn in row["messages"]]
    assert [who for who, _ in said] == ["system", *["user", "assistant"] * 3]
    assert [what for who, what in said if who != "assistant"] == [
        "Be kind.", "hello", "say it again", "more"
    ]  # fmt: skip
    assert said[2][1] == greedy(speaker, said[1:2])  # the system's words came later
    assert said[4][1] == greedy(speaker, said[1:4])
    assert said[6][1] == greedy(speaker, said[:6])
    # cut at its limit: no end to learn
    assert [turn["train"] for turn in row["messages"] if turn["role"] == "assistant"] == [False] * 3
    assert (tmp_path / "other").read_text() == "mine"


def test_ctrl_c_stops_the_answer_and_not_the_program(speaker: Path, tmp_path: Path) -> None:
    with Person(["chat", f"base={speaker}", "max_new_tokens=8000"], tmp_path) as person:
        person.wait()
        for line in ("go", "/retry"):
            person.type(line + "\n")
            person.wait(re.compile(r"\n[^\n]{20}"))  # it speaks
            person.type(CTRL_C)
            person.wait()
        person.type("/edit\n")
        person.wait(re.compile("> go$"))  # the old line, to be changed
        person.type(" on\n")
        person.wait(re.compile(r"\n[^\n]{20}"))
        person.type(CTRL_C)
        person.wait()
        person.ask("/save talk.jsonl")
        person.type("half a line")
        person.wait(re.compile("half a line$"))
        person.interrupt()
        assert "once more" in person.wait()
        person.interrupt()
        written, status = person.leave()
    assert status == 0, written
    [row] = map(json.loads, (tmp_path / "talk.jsonl").read_text().splitlines())
    asked, answered = row["messages"]
    assert asked == {"role": "user", "content": "go on"}
    assert answered["train"] is False
    assert 0 < len(answered["content"]) < 7000


def test_what_no_longer_fits_is_left_out_and_the_rest_kept(
    cli: Cli, speaker: Path, tmp_path: Path
) -> None:
    """Through a pipe: 8,192 tokens hold two lines of 3,000 and an answer, not three."""
    lines = [letter * 3000 for letter in "abcd"]
    words = ["chat", f"base={speaker}", f"max_new_tokens={NEW}", "--json"]
    said = cli(words, folder=tmp_path, stdin="\n".join(lines)).result["messages"]
    turns = [(turn["role"], turn["content"]) for turn in said]
    assert turns[7][1] == greedy(speaker, turns[4:7])
    alone = cli([*words, "history=false"], folder=tmp_path, stdin="\n".join(lines[:2])).result
    assert alone["messages"][3]["content"] == greedy(speaker, turns[2:3])


def test_a_pipe_has_no_commands_but_new(cli: Cli, speaker: Path, tmp_path: Path) -> None:
    """Whoever wrote the lines may be another than who lets them in: no line names a file."""
    done = cli(
        ["chat", f"base={speaker}", f"max_new_tokens={NEW}", "--json"],
        folder=tmp_path,
        stdin="/save there.jsonl\n/new\n/usr/bin\n",
    )
    asked = [turn["content"] for turn in done.result["messages"] if turn["role"] == "user"]
    assert asked == ["/save there.jsonl", "/usr/bin"]
    assert not list(tmp_path.iterdir())
