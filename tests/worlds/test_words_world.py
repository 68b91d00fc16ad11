"""The words of the language side as a World: prompts in, bytes out, the verdict as the reward."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.sample.episodes import Episodes
from fledge.stopwatch import Stopwatch
from fledge.worlds.words_world import BLANK, STOP, WordsWorld
from fledge.worlds.world import Choices


def read(row: torch.Tensor) -> tuple[str, str, bool]:
    """Prompt, reply, and whether the reply has stopped; checks that nothing but blanks follows."""
    symbols = row.tolist()
    end = symbols.index(BLANK) if BLANK in symbols else len(symbols)
    assert set(symbols[end:]) <= {BLANK}
    prompt, _, rest = bytes_until(symbols[:end])
    reply, stopped, nothing = bytes_until(rest)
    assert not nothing
    return prompt, reply, stopped


def bytes_until(symbols: list[int]) -> tuple[str, bool, list[int]]:
    end = symbols.index(STOP) if STOP in symbols else len(symbols)
    return bytes(symbols[:end]).decode(), end < len(symbols), symbols[end + 1 :]


class Speller:
    """Says the right answer of `reverse` to even copies; to odd ones it says nothing but x."""

    def act(self, obs, generator):
        actions = []
        for i, row in enumerate(obs):
            prompt, reply, stopped = read(row)
            answer = prompt.split(": ")[1][::-1]
            if i % 2:
                actions.append(ord("x"))
            else:
                actions.append(STOP if stopped or reply == answer else ord(answer[len(reply)]))
        return torch.tensor(actions), None


def test_right_answers_earn_one_and_endless_ones_nothing():
    world = WordsWorld("reverse", 4, reply_bytes=12)
    rows = next(Episodes(world, Speller(), Stopwatch(), steps=60, seed=1))
    assert rows.obs.shape == (4, 61, 32 + 1 + 12)
    ended = rows.terminated
    for i in range(4):
        ends = ended[i].nonzero().flatten().tolist()
        begins = [0, *(t + 2 for t in ends)]  # the step after an end only begins anew
        prompts = [read(rows.obs[i, t])[0] for t in begins if t <= 60]
        assert len(set(prompts)) == len(prompts) >= 4
        for prompt, end, begin in zip(prompts, ends, begins, strict=False):
            said = read(rows.obs[i, end + 1])
            word = prompt.removeprefix("reverse: ")
            length = 12 if i % 2 else len(word) + 1
            assert end - begin + 1 == length
            assert said == ((prompt, "x" * 12, False) if i % 2 else (prompt, word[::-1], True))
            assert rows.truncated[i, end] == bool(i % 2)
            assert rows.reward[i, end] == (0.0 if i % 2 else 1.0)
            if end < 59:
                assert not rows.chosen[i, end + 1]
    assert rows.reward[~ended].eq(0).all()
    assert int((~rows.chosen).sum()) == int(ended[:, :-1].sum())


def test_a_right_beginning_earns_its_part():
    """Three of six letters right, then stop: (3 − 1) / (6 − 1) of the credit."""
    world = WordsWorld("upper", 1, reply_bytes=12)
    row = world.reset(0)[0]
    while len(word := read(row)[0].removeprefix("upper: ")) != 6:
        world.step(torch.tensor([STOP]))
        row = world.step(torch.tensor([0])).obs[0]  # begins anew, whatever is done
    for letter in word.upper()[:3]:
        assert world.step(torch.tensor([ord(letter)])).reward == 0.0
    after = world.step(torch.tensor([STOP]))
    assert after.reward.item() == pytest.approx(2 / 5)
    assert (after.terminated.item(), after.truncated.item()) == (True, False)


def test_a_reply_that_stops_with_its_last_symbol_has_stopped():
    world = WordsWorld("last", 1, reply_bytes=2)
    word = read(world.reset(0)[0])[0]
    world.step(torch.tensor([ord(word[-1])]))
    after = world.step(torch.tensor([STOP]))
    assert (after.reward.item(), after.terminated.item(), after.truncated.item()) == (
        1.0,
        True,
        False,
    )
    assert read(after.obs[0]) == (word, word[-1], True)


def test_bytes_that_are_no_text_are_a_wrong_answer():
    """A right letter with a byte beside it that belongs to no character is not the letter."""
    world = WordsWorld("last", 2)
    letters = [read(row)[0][-1] for row in world.reset(0)]
    world.step(torch.tensor([0xC3, ord(letters[1])]))
    world.step(torch.tensor([ord(letters[0]), 0xFF]))
    after = world.step(torch.tensor([STOP, STOP]))
    assert after.reward.tolist() == [0.0, 0.0]
    assert after.terminated.tolist() == [True, True]


def test_seeds_ask_differently_and_one_alike():
    world = WordsWorld("add,sort", 6)
    first, again, other = world.reset(1), world.reset(1), world.reset(2)
    assert torch.equal(first, again)
    assert not set(map(str, first.tolist())) & set(map(str, other.tolist()))
    assert (world.observation, world.action) == (Choices((258,) * 49), Choices((257,)))
    assert first.dtype == torch.int64


def test_what_it_gave_stays_as_it_was():
    world = WordsWorld("reverse", 2)
    first = world.reset(0)
    kept = first.clone()
    after = world.step(torch.tensor([65, STOP]))
    over = after.terminated.clone()
    world.step(torch.tensor([65, 65]))
    world.reset(0)
    assert torch.equal(first, kept)
    assert torch.equal(after.terminated, over)


@pytest.mark.parametrize("bad", [-1, 257])
def test_a_symbol_that_is_none_is_told(bad):
    world = WordsWorld("reverse", 2)
    world.reset(0)
    with pytest.raises(UserError, match=f"told .0, {bad}.: a byte, 0 to 255, or 256"):
        world.step(torch.tensor([0, bad]))


def test_a_prompt_too_long_for_the_row_is_told():
    world = WordsWorld("numbers", 1, prompt_bytes=10)
    with pytest.raises(
        UserError, match=r"asks 'numbers: .*bytes, and a row has room for 10: raise `prompt_bytes`"
    ):
        world.reset(0)


def test_a_task_of_the_users_own_may_speak_any_language(tmp_path):
    file = tmp_path / "mine.jsonl"
    rows = [f'{{"prompt": "größer als {i}?", "answer": "ñ{i}"}}\n' for i in range(40)]
    file.write_text("".join(rows), encoding="utf-8")
    world = WordsWorld(str(file), 1)
    prompt, _, _ = read(world.reset(0)[0])
    answer = "ñ" + prompt.removeprefix("größer als ")[:-1]
    for symbol in answer.encode():
        world.step(torch.tensor([symbol]))
    assert world.step(torch.tensor([STOP])).reward.item() == 1.0


def test_a_reply_without_an_end_is_never_worth_more_than_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "def prompts():\n    return ['p']\ndef score(p, c):\n    return {'aaa': -3, 'bbb': "
        "3}.get(c, 0)\n"
    )
    world = WordsWorld(str(path), 2, reply_bytes=3)
    world.reset(0)
    world.step(torch.tensor([ord("a"), ord("b")]))
    world.step(torch.tensor([ord("a"), ord("b")]))
    step = world.step(torch.tensor([ord("a"), ord("b")]))
    assert step.reward.tolist() == [-3.0, 0.0]
    assert step.truncated.all()
