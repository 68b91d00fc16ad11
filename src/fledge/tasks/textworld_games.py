"""Games of TextWorld (an extra: pip install fledge[text_worlds]) as a task of several turns: files
that its `tw-make` has written, played as their own interpreter plays them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fledge.errors import UserError
from fledge.rows.census import Census, Reading
from fledge.tasks.conversed import in_one_line
from fledge.tasks.examples import Example, Verdict
from fledge.tasks.rows import ExampleRows, OfRows, PromptSides

PREFIX = "textworld:"
KINDS = (".z8", ".ulx")
TURNS = 50  # of games that do not say how they are won
KEPT = 256  # games that stand where they were left


@dataclass
class TextWorldTask(OfRows):
    """turns: the most that may be said. A game's score is the share of its points, and won is
    right. `hidden` of an example is its file.
    """

    name: str
    rows: ExampleRows
    turns: int
    can_fail: bool = False
    _left: OrderedDict[tuple[str, tuple[str, ...]], tuple[Any, Any]] = field(
        default_factory=OrderedDict, repr=False
    )

    def play(self, example: Example, said: Sequence[str]) -> Any:
        """Its state after these commands, going on from where the game was left if it was."""
        done = tuple(said[: self.turns])
        for length in range(len(done), -1, -1):
            left = self._left.get((example.hidden, done[:length]))
            if length == len(done) and left is not None:
                return left[1]
            if left is not None or length == 0:
                game, state = left or start_game(example.hidden)
                break
        else:
            raise AssertionError
        self._left.pop((example.hidden, done[:length]), None)
        for command in done[length:]:
            if not is_over(state):
                state = game.step(command)[0]
        self._left[example.hidden, done] = game, state
        while len(self._left) > KEPT:
            self._left.popitem(last=False)
        return state

    def reply(self, example: Example, said: Sequence[str]) -> str | None:
        state = self.play(example, said)
        return None if is_over(state) else read_feedback(state)

    def judge(self, examples: Sequence[Example], completions: Sequence[str]) -> list[Verdict]:
        """By the points at the end of the commands, one a line.  [B], [B] -> [B]"""
        verdicts = []
        for example, completion in zip(examples, completions, strict=True):
            state = self.play(example, completion.split("\n"))
            won = bool(state.won)
            share = max(0, state.score or 0) / max(1, state.max_score or 1)
            verdicts.append(Verdict(1.0 if won else min(share, 0.99), won))
        return verdicts

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Any) -> None:
        """There is none: a game is played again."""


def is_over(state: Any) -> bool:
    return bool(state.won or state.lost)


def read_feedback(state: Any) -> str:
    """What the game said, without the line that waits for the next command."""
    return in_one_line(str(state.feedback).rpartition("\n>")[0] or str(state.feedback))


def start_game(file: str) -> tuple[Any, Any]:
    import textworld  # pyright: ignore[reportMissingImports]

    wanted = ("objective", "score", "max_score", "won", "lost", "policy_commands")
    game = textworld.start(file, request_infos=textworld.EnvInfos(**dict.fromkeys(wanted, True)))
    return game, game.reset()


def list_games(place: Path) -> list[Path]:
    """The file itself, or those of a folder, by their names."""
    return [place] if place.is_file() else sorted(f for k in KINDS for f in place.glob(f"*{k}"))


def load_textworld(name: str, seed: int) -> TextWorldTask:
    """textworld:FILE or textworld:FOLDER of .z8 or .ulx files. Raises UserError where the package
    is not installed, or there are no games.
    """
    try:
        import textworld  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            f"tasks named {PREFIX}… are TextWorld's games, which is not here ({error}): "
            "pip install 'fledge[text_worlds]'."
        ) from None
    place = Path(name.removeprefix(PREFIX)).expanduser()
    files = list_games(place)
    if not files or files[0].suffix not in KINDS:
        raise UserError(
            f"{place} holds no games of TextWorld: give a .z8 or .ulx file that tw-make has "
            "written, or a folder of them."
        )
    census, sides, examples = Census(name, Reading(), rows="games"), PromptSides(), []
    turns = 0
    for file in files:
        try:
            _, state = start_game(str(file))
        except Exception as error:  # of an interpreter of its own, whatever it raises
            raise UserError(
                f"TextWorld cannot start {file} ({in_one_line(str(error))}): give a file that "
                "tw-make has written."
            ) from None
        way = state.policy_commands
        turns = max(turns, 2 * len(way) + 4 if way else TURNS)
        prompt = f"{in_one_line(str(state.objective))}\nSay one command at a time."
        answer = "\n".join(way) if way else None
        sides.append(prompt)
        examples.append(Example(prompt, answer, name, hidden=str(file)))
    return TextWorldTask(name, sides.deal(name, examples, seed, [census]), turns)
