"""What is given in Python in place of files: the same figures as by files, kept by content, and
said plainly where it is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas
import pytest
import torch
from safetensors.torch import load_file

import fledge
from tests.cli.commands import Cli, Models, outcome
from tests.encoder_folder import make_encoder, write_rows

QUICK: dict[str, Any] = {"precision": "fp32", "compile": "no"}
ALIGN: dict[str, Any] = {
    "steps": 3,
    "prompts_per_step": 8,
    "samples_per_prompt": 2,
    "max_new_tokens": 8,
    "evaluation_prompts": 8,
    **QUICK,
}
WORLD = """
import gymnasium, numpy as np
from gymnasium import spaces


class Corridor(gymnasium.Env):
    observation_space = spaces.Box(-8.0, 8.0, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.time = int(self.np_random.integers(-3, 4)), 0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place, self.time = self.place + (1 if action else -1), self.time + 1
        out = self.place >= 5
        seen = np.array([max(-8, self.place)], np.float32)
        return seen, float(out), out, self.time >= 20, {}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("my_")]:
        del sys.modules[name]


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def share_of_letters(prompt: str, completion: str) -> float:
    """As the task file of the models has it."""
    return sum(c.islower() for c in completion) / max(1, len(completion))


def prompts_of(models: Models) -> list[str]:
    space: dict[str, Any] = {}
    exec((models.folder / "letters.py").read_text(), space)
    return space["prompts"]()


@pytest.mark.parametrize(
    ("verb", "file", "fields"),
    [
        ("tune", "rows.jsonl", {"steps": 3, "rows_per_step": 8}),
        ("prefer", "pairs.jsonl", {"steps": 3, "pairs_per_step": 8}),
        ("reward", "pairs.jsonl", {"steps": 3, "pairs_per_step": 8}),
    ],
)
def test_a_list_of_rows_is_a_file_of_them(
    verb: str, file: str, fields: dict[str, Any], models: Models
) -> None:
    place = models.folder / file
    ask, base = getattr(fledge, verb), models.folder / "tune"
    of_file = ask(base, place, **fields, **QUICK)
    of_rows = ask(fledge.open_run(base), rows_of(place), **fields, **QUICK)
    assert outcome(of_rows.folder) == outcome(of_file.folder)
    [entry] = json.loads((of_rows.folder / "lineage.json").read_text())["data"]
    assert Path(entry["path"]).parent == of_rows.folder / "given"
    assert rows_of(Path(entry["path"])) == rows_of(place)


def test_a_data_frame_is_a_list_of_rows(models: Models) -> None:
    rows = rows_of(models.folder / "rows.jsonl")
    by_rows, by_frame = (
        fledge.tune(models.folder / "tune", each, steps=1, **QUICK)
        for each in (rows, pandas.DataFrame(rows))
    )
    assert outcome(by_frame.folder) == outcome(by_rows.folder)
    assert [path.name for path in by_frame.folder.glob("given/*")] == [
        path.name for path in by_rows.folder.glob("given/*")
    ]


def test_a_mistake_after_the_run_was_made_leaves_nothing(here: Path) -> None:
    with pytest.raises(fledge.UserError, match="the given data is too short to hold out"):
        fledge.pretrain(["a"], tokenizer="bytes", layers=1, width=16, heads=2, context=64, **QUICK)
    assert not list(here.glob("runs/*"))


def test_a_list_of_texts_is_a_file_of_them(models: Models) -> None:
    texts = (models.folder / "text.txt").read_text().splitlines()
    Path("texts.jsonl").write_text("".join(json.dumps({"text": each}) + "\n" for each in texts))
    fields = {"tokenizer": "bytes", "layers": 1, "width": 16, "heads": 2, "context": 64, **QUICK}
    fields |= {"steps": 3, "tokens_per_step": 256, "evaluation_rows": 8}
    assert outcome(fledge.pretrain(texts, **fields).folder) == outcome(
        fledge.pretrain(Path("texts.jsonl"), **fields).folder
    )


def test_a_reward_and_prompts_are_a_task_file(models: Models) -> None:
    base = fledge.load(models.folder / "tune")
    of_file = fledge.align(base, task=str(models.folder / "letters.py"), **ALIGN)
    of_both = fledge.align(base, prompts=prompts_of(models), reward=share_of_letters, **ALIGN)
    # the share of answers that a judge in a process of its own failed on, which here has none
    logged = [{**row, "judge_failed": 0} for row in of_both.metrics if "kl_k1" in row]
    assert logged == [{"judge_failed": 0, **row} for row in of_file.metrics if "kl_k1" in row]
    assert (of_both.folder / "model/model.safetensors").read_bytes() == (
        of_file.folder / "model/model.safetensors"
    ).read_bytes()
    measured = fledge.evaluate(
        of_both, task=fledge.Task(prompts_of(models), share_of_letters), max_new_tokens=8
    )
    by_file = fledge.evaluate(of_both, task=str(models.folder / "letters.py"), max_new_tokens=8)
    assert measured["true_score"] == by_file["true_score"]


def test_a_reward_is_given_the_answer_where_it_asks(models: Models) -> None:
    rows = [{"prompt": f"say {a}{b}", "answer": a + b} for a in "abcdef" for b in "uvwxyz"]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seen = set()

    def agree(prompt: str, completion: str, answer: str) -> tuple[float, bool]:
        seen.add((prompt, answer))
        return float(completion == answer), completion == answer

    run = fledge.align(models.folder / "tune", prompts="rows.jsonl", reward=agree, **ALIGN)
    assert seen <= {(row["prompt"], row["answer"]) for row in rows}
    assert len(seen) > 8
    # answers alone judge too: by the credit that a file of answers gives
    known = fledge.align(models.folder / "tune", prompts=rows, **ALIGN)
    by_file = fledge.align(models.folder / "tune", task="rows.jsonl", **ALIGN)
    assert outcome(known.folder) == outcome(by_file.folder)
    assert run.summary["verb"] == "align"


def test_an_environment_is_its_file() -> None:
    Path("mine.py").write_text(WORLD)
    space: dict[str, Any] = {"__name__": "my_worlds"}
    exec(WORLD, space)
    kind: Any = space["Corridor"]
    fields = {"steps": 400, "copies": 2, "evaluation_episodes": 4, "pictures": False}
    fields["scale_rewards"] = True
    of_file = fledge.control("./mine.py:Corridor", **fields)
    worlds = (kind, kind(), lambda: kind())
    runs = [fledge.control(world, **fields) for world in worlds]
    for run in runs:
        assert run.metrics == of_file.metrics
        weights = [load_file(each.folder / "model/model.safetensors") for each in (run, of_file)]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
        assert (
            fledge.play(run, episodes=3)["returns"] == fledge.play(of_file, episodes=3)["returns"]
        )
    again = fledge.open_run(runs[-1].folder)
    with pytest.raises(fledge.UserError, match="only there can it be given again"):
        fledge.play(again)
    assert fledge.play(again, world=worlds[-1], episodes=3)["episodes"] == 3


def test_a_model_trained_by_other_hands_is_kept_in_the_run(models: Models) -> None:
    model = fledge.load(models.folder / "tune")
    unchanged = fledge.tune(model, models.folder / "rows.jsonl", steps=1, **QUICK)
    assert unchanged.config["base"] == str(model.folder)
    with torch.no_grad():
        model.network.unembedding.mul_(1.5)
    run = fledge.tune(model, models.folder / "rows.jsonl", steps=1, **QUICK)
    kept = Path(run.config["base"])
    assert kept.parent == run.folder / "given"
    assert torch.equal(fledge.load(kept).network.unembedding, model.network.unembedding)
    assert outcome(run.folder) != outcome(unchanged.folder)


def test_an_encoder_that_other_hands_changed_is_kept_in_the_run(here: Path) -> None:
    """A base in memory is tuned as the folder that it is saved into, and as itself."""
    folder, rows = make_encoder(here / "base"), write_rows(here / "rows.jsonl", "classify", 60)
    fields: dict[str, Any] = {"task": "classify", "steps": 2, "warmup_steps": 0, **QUICK}
    encoder = fledge.load_encoder(folder)
    unchanged = fledge.tune(encoder, rows, **fields)
    assert unchanged.config["base"] == str(folder)
    with torch.no_grad():
        encoder.network.embedding.weight.mul_(1.5)
    changed = fledge.tune(encoder, rows, **fields)
    kept = Path(changed.config["base"])
    assert kept.parent == changed.folder / "given"
    assert torch.equal(
        fledge.load_encoder(kept).network.embedding.weight, encoder.network.embedding.weight
    )
    again = fledge.tune(encoder.save(here / "saved"), rows, **fields)
    assert outcome(again.folder) == outcome(changed.folder) != outcome(unchanged.folder)


def test_a_trained_tokenizer_and_an_algorithm_of_a_file(models: Models, here: Path) -> None:
    texts = (models.folder / "text.txt").read_text().splitlines()
    tokenizer = fledge.train_tokenizer(texts, vocab_size=300, out="words")
    assert tokenizer.decode(tokenizer.encode("the cat sat")) == "the cat sat"
    sizes = {"layers": 1, "width": 16, "heads": 2, "context": 64, **QUICK}
    sizes |= {"steps": 2, "tokens_per_step": 256, "evaluation_rows": 4}
    run = fledge.pretrain(texts, tokenizer=tokenizer, **sizes)
    assert run.model.tokenizer.fingerprint() == tokenizer.fingerprint()
    assert fledge.show_tokenizer("words", "the cat")["tokens"]
    source = Path(__file__).parents[2] / "examples" / "good_baseline.py"
    here.joinpath("my_algorithm.py").write_text(source.read_text(encoding="utf-8"))
    sys.path.insert(0, str(here))
    from my_algorithm import GoodBaseline  # pyright: ignore[reportMissingImports]

    sys.path.remove(str(here))
    aligned = fledge.align(
        models.folder / "tune",
        algorithm=GoodBaseline,
        prompts=prompts_of(models),
        reward=share_of_letters,
        **{**ALIGN, "steps": 1},
    )
    assert aligned.config["algorithm"] == "my_algorithm.py:GoodBaseline"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"data": []}, "data is an empty list"),
        ({"data": ["a text"]}, "data is a list of strings, and tune learns from rows"),
        ({"data": [{"prompt": "a", "completion": "b"}, "c"]}, "row 2 of data is of type str"),
        ({"data": [{"prompt": {1, 2}}]}, "row 1 of data holds what JSON cannot"),
        (
            {"data": [{"prompt": "a"}]},
            "line 1 of the given data has a `prompt` and no `completion`",
        ),
        ({"data": 3}, "data=int was given"),
        ({"task": 3}, "data=int was given|task=int was given"),
    ],
)
def test_rows_that_cannot_be_used_leave_nothing(
    wrong: dict[str, Any], said: str, models: Models, here: Path
) -> None:
    with pytest.raises(fledge.UserError, match=said):
        fledge.tune(models.folder / "tune", **wrong, **QUICK)
    assert not list(here.glob("runs/*"))


def test_a_folder_that_holds_something_is_no_place(models: Models, here: Path) -> None:
    here.joinpath("mine").mkdir()
    here.joinpath("mine", "notes.txt").write_text("keep")
    rows = rows_of(models.folder / "rows.jsonl")
    with pytest.raises(fledge.UserError, match="exists and is not empty"):
        fledge.tune(models.folder / "tune", rows, out="mine", **QUICK)
    assert [path.name for path in here.joinpath("mine").iterdir()] == ["notes.txt"]


def test_what_python_was_given_is_on_the_command_line_a_file(
    cli: Cli, models: Models, here: Path
) -> None:
    """A run's config.json starts another like it: the rows are where the first run keeps them."""
    rows = rows_of(models.folder / "rows.jsonl")
    first = fledge.tune(models.folder / "tune", rows, steps=2, **QUICK)
    done = cli(["tune", str(first.folder / "config.json"), "out=again"], folder=here)
    assert done.code == 0, done.stderr
    assert outcome(here / "again") == outcome(first.folder)
