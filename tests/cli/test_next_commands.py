"""Every command that fledge proposes is run as it was printed: from a folder with a space in its
name, through a shell's rules for words, to exit code 0.

All of them are written by `write_command`; the places that call it are read from the source, and
each is tried here, so a proposal that nobody has run cannot be added.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cli.commands import (
    ALIGN,
    COMPRESS,
    CONTROL_DQN,
    CONTROL_TABLE,
    DISTILL,
    ENCODER,
    FIT,
    IMAGINE,
    PREFER,
    PRETRAIN,
    REWARD,
    SELFPLAY,
    SENTENCES,
    TUNE,
    Cli,
    Models,
)

from fledge.cli.verbs import VERBS
from fledge.next_command import write_command

SOURCE = Path(__file__).resolve().parents[2] / "src" / "fledge"
SAYS = "(?:Next|look at it|Continue with|Talk to it): +"
PROPOSED = re.compile(rf"`(fledge [^`]+)`|{SAYS}(fledge .+)")
RUN = "out=a run"

# What makes a proposed command a short one; it is run as printed otherwise.
SHORT = {
    "pretrain": "tokenizer=bytes layers=1 width=16 heads=2 context=32 tokens_per_step=64 steps=2 "
    "precision=fp32 compile=no",
    "tune": "steps=2 rows_per_step=4 evaluate_every=2 precision=fp32 compile=no",
    "align": "steps=1 prompts_per_step=2 samples_per_prompt=2 max_new_tokens=4 "
    "evaluation_prompts=2 precision=fp32 compile=no",
    "distill": "steps=1 rows_per_step=2 precision=fp32 compile=no",
    "data clean": "rules=none",
    "play": "episodes=2",
    "play tictactoe": "simulations=4",
}  # fmt: skip


@dataclass(frozen=True)
class Stand:
    """A folder, and fledge in it."""

    cli: Cli
    models: Models
    folder: Path

    def say(self, command: str, *more: str, code: int = 0) -> str:
        done = self.cli([*self.models.fill(command), *more], folder=self.folder)
        assert done.code == code, done.stderr
        return done.stdout + done.stderr

    def stop(self, command: str, at: signal.Signals, *more: str) -> str:
        """What is printed when a run is stopped after its first figures."""
        done = self.cli(
            [*self.models.fill(command), RUN, "save_every_s=0", *more],
            folder=self.folder,
            signal=at,
            once=self.folder / "a run" / "checkpoints" / "00000002",
        )
        assert done.code != 0
        return done.stderr

    @property
    def run(self) -> Path:
        return self.folder / "a run"


def damage(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def finished(command: str) -> Callable[[Stand], str]:
    return lambda stand: stand.say(command, RUN)


def train_tokenizers(stand: Stand) -> str:
    (stand.folder / "greek.txt").write_text("λόγος καὶ ἔργον\n" * 40)
    said = ""
    for kind in ("bytes", "characters", "bpe"):
        command = f"tokenizer train data=greek.txt kind={kind}"
        said += stand.say(command, f"out=a {kind} tokenizer")
    return said


def learn_quality(stand: Stand) -> str:
    for name in ("good", "plain"):
        texts = [f"{name} {number} of many" for number in range(500)]
        rows = "".join(json.dumps({"text": text, "lang": name}) + "\n" for text in texts)
        (stand.folder / f"{name} text.jsonl").write_text(rows)
    return stand.say("data quality epochs=1", "good=good text.jsonl", "plain=plain text.jsonl", RUN)


def learn_languages(stand: Stand) -> str:
    rows = [{"lang": name, "text": f"{name} text of {name} " * 80} for name in ("ours", "other")]
    (stand.folder / "my texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return stand.say("data languages", "data=my texts.jsonl", "out=my languages.json")


def lose_the_model(stand: Stand) -> str:
    stand.say(TUNE, RUN)
    damage(stand.run / "model" / "model.safetensors")
    return stand.say("sample", "base=a run", code=2)


def lose_the_model_and_checkpoints(stand: Stand) -> str:
    lose_the_model(stand)
    shutil.rmtree(stand.run / "checkpoints")
    return stand.say("resume", "a run", code=2)


def lose_checkpoints_of_a_stopped_run(stand: Stand) -> str:
    stand.stop(TUNE, signal.SIGINT)
    for file in (stand.run / "checkpoints").rglob("*.safetensors"):
        damage(file)
    return stand.say("resume", "a run", code=2)


def lose_the_summary(stand: Stand) -> str:
    stand.say(TUNE, RUN)
    (stand.run / "summary.json").write_text("{")
    said = stand.say("resume", "a run", code=2)
    (stand.run / "summary.json").unlink()  # as the sentence says
    return said


def ask_a_run_that_is_not_finished(stand: Stand) -> str:
    stand.stop(TUNE, signal.SIGTERM)
    return stand.say("sample", "base=a run", code=2)


def take_a_folder_twice(stand: Stand) -> str:
    stand.say(TUNE, RUN)
    return stand.say(TUNE, RUN, code=2)


# Where in the source commands are proposed, and what has them printed.
PLACES: dict[str, list[Callable[[Stand], str]]] = {
    "recipes/language/pretrain.py": [
        finished(PRETRAIN),
        finished(PRETRAIN.replace(" heads=2", " architecture=lstm backward=true")),
    ],
    "recipes/data/clean.py": [finished("data clean {text} rules=none")],
    "recipes/data/quality.py": [learn_quality],
    "recipes/data/languages.py": [learn_languages],
    "recipes/language/count.py": [
        finished("pretrain architecture=ngram order=2 data={text} tokenizer=bytes context=64")
    ],
    "recipes/language/encode.py": [finished(ENCODER)],
    "recipes/language/vectors.py": [finished("vectors data={text} dims=4 min_count=1 epochs=1")],
    "recipes/language/tune.py": [finished(TUNE)],
    "recipes/language/merge.py": [finished("merge {pretrain},{tune}")],
    "recipes/language/reward.py": [
        finished(REWARD),
        finished(
            "reward base={tune} task={letters} pairs=64 steps=2 pairs_per_step=4 max_new_tokens=8 "
            "precision=fp32 compile=no"
        ),
    ],
    "recipes/language/prefer.py": [finished(PREFER)],
    "recipes/language/align.py": [finished(ALIGN)],
    "recipes/language/distill.py": [finished(DISTILL)],
    "recipes/language/compress.py": [finished(COMPRESS)],
    "recipes/latent/conclusion.py": [finished(FIT)],
    "recipes/images/conclusion.py": [finished(IMAGINE)],
    "recipes/images/ladder.py": [
        lambda stand: stand.say("ladder density rungs=histogram samples=4 seconds=1 runs=rungs")
    ],
    "recipes/texts/imagine_texts.py": [finished(f"{SENTENCES} model=text_vae")],
    "recipes/control/solve.py": [finished("solve kuhn steps=20")],
    "recipes/minds/minds.py": [finished("minds food-trucks steps=3")],
    "recipes/studies/query.py": [finished("query methods=margin seeds=2 rounds=1")],
    "recipes/games/selfplay.py": [finished(SELFPLAY)],
    "recipes/control/result.py": [finished(CONTROL_DQN), finished(CONTROL_TABLE)],
    "recipes/language/tokenizer.py": [train_tokenizers],
    "recipes/carry_on.py": [lose_the_model_and_checkpoints],
    "runs/model_files.py": [lose_the_model, ask_a_run_that_is_not_finished],
    "runs/folder.py": [lose_the_summary],
    "runs/place.py": [take_a_folder_twice],
    "loop.py": [
        lambda stand: stand.stop(TUNE, signal.SIGINT), lose_checkpoints_of_a_stopped_run
    ],
}  # fmt: skip
ELSEWHERE = {
    "recipes/data/mixture.py": "tests/cli/test_data_mixture.py, which trains nine models",
    "recipes/images/spell.py": "tests/cli/test_spell.py, which has a run whose codes are written",
    "recipes/language/tune_labels.py": "tests/cli/test_label_runs.py, which has an encoder",
    "recipes/language/demo.py": "tests/cli/test_demo.py, which takes minutes",
    "worlds/games/make.py": "tests/worlds/games/test_outside_games.py, and tests/cli/test_solve.py",
    "report/page.py": "the page of an unfinished run, below",
    "serve/verb.py": "tests/serve/test_start.py: it goes on until it is stopped",
    "verify/referee/ruling.py": "tests/verify/referee/test_page.py: it needs what others install",
    "verify/referee/world_ruling.py": "the same",
    "next_command.py": "where it is written",
}


def list_places() -> set[str]:
    """The files that name `write_command`."""
    return {
        str(file.relative_to(SOURCE))
        for file in SOURCE.rglob("*.py")
        if any(
            (isinstance(node, ast.Name) and node.id == "write_command")
            or (isinstance(node, ast.FunctionDef) and node.name == "write_command")
            for node in ast.walk(ast.parse(file.read_text()))
        )
    }


def test_every_place_that_proposes_a_command_is_tried() -> None:
    assert list_places() == PLACES.keys() | ELSEWHERE.keys()


def test_no_command_with_a_folder_or_file_in_it_is_put_together_elsewhere() -> None:
    proposed = re.compile(rf"fledge (?:{'|'.join(VERBS)}) (?:[a-z_]+=)?\0")
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = (
                    "".join(
                        str(part.value) if isinstance(part, ast.Constant) else "\0"
                        for part in node.values
                    )
                    .replace("algorithm=\0", "")
                    .replace("model=\0", "")
                )
                assert not proposed.search(text), f"{file}: use write_command for {text!r}"


def test_a_line_that_says_what_is_next_has_its_command_from_write_command() -> None:
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(f"{SAYS}fledge", node.value), file


def list_proposals(node: ast.expr) -> list[ast.expr]:
    """Each of several commands, and of both sides where it depends on the run."""
    if isinstance(node, ast.IfExp):
        return [*list_proposals(node.body), *list_proposals(node.orelse)]
    return node.elts if isinstance(node, ast.Tuple) else [node]


def test_what_a_run_proposes_in_the_end_is_a_command() -> None:
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "then":
                for one in list_proposals(node.value):
                    assert isinstance(one, ast.Call), file
                    assert ast.unparse(one.func) == "write_command", file


@pytest.mark.parametrize(
    ("place", "number"), [(place, i) for place, ways in PLACES.items() for i in range(len(ways))]
)
def test_what_is_proposed_can_be_run(
    place: str, number: int, cli: Cli, models: Models, tmp_path: Path
) -> None:
    said = PLACES[place][number](Stand(cli, models, tmp_path))
    commands = [one or other for one, other in PROPOSED.findall(said)]
    assert commands, said
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        words += SHORT.get(" ".join(words[:2]), SHORT.get(words[0], "")).split()
        done = cli(words, folder=tmp_path, stdin="hello\n")
        assert done.code == 0, f"{command}: {done.stderr}"


def test_the_page_of_an_unfinished_run_says_what_continues_it(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    stand = Stand(cli, models, tmp_path)
    stand.stop(TUNE, signal.SIGINT)
    stand.say("report", "a run")
    page = (stand.run / "report.html").read_text().replace("&#39;", "'")
    [command] = re.findall(r"<code>(fledge [^<]+)</code> continues it", page)
    assert cli(shlex.split(command)[1:], folder=tmp_path).code == 0
    assert "continues it" not in json.dumps(stand.say("report", "a run"))


def test_a_command_is_quoted_for_a_shell() -> None:
    command = write_command("tokenizer show", "it's here", text="a b", instead="text=yours")
    assert shlex.split(command, comments=True) == [
        "fledge", "tokenizer", "show", "it's here", "text=a b"
    ]  # fmt: skip
    assert write_command("resume", "runs/tune") == "fledge resume runs/tune"
