"""What a user gets wrong ends with exit code 2 and one sentence that says what, where, and what to
do.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.cli.commands import ALIGN, PRETRAIN, REWARD, TUNE, Cli, Models

Complain = Callable[..., str]


@pytest.fixture
def complaint(cli: Cli, models: Models, tmp_path: Path) -> Complain:
    """The one sentence of a command in `tmp_path`. With --json it is the same, and standard output
    stays empty.
    """

    def run(command: str, *more: str) -> str:
        words = [*models.fill(command), *more]
        said = cli(words, folder=tmp_path).complaint
        quiet = cli([*words, "--json"], folder=tmp_path)
        assert quiet.stdout == ""
        assert quiet.complaint == said
        return said

    return run


def rows(path: Path, number: int, **row: str) -> Path:
    path.write_text(
        "".join(
            json.dumps(row | {"prompt": f"{row.get('prompt', '')}{i}"}) + "\n"
            for i in range(number)
        )
    )
    return path


# --- words that are no command ---


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("pretrian", "there is no verb `pretrian`. Perhaps you meant `fledge pretrain`."),
        ("xyzzy", "there is no verb `xyzzy`."),
        ("tokenizer", "needs one more word: fledge tokenizer train or fledge tokenizer show"),
        (
            "pretrain learning_rat=1",
            "`learning_rat` is no field of `fledge pretrain`: perhaps you meant `learning_rate`.",
        ),
        ("pretrain --learning-rat 1", "perhaps you meant `learning_rate`"),
        ("pretrain steps=many", "steps=many cannot be: input should be a valid integer"),
        ("pretrain steps=none", "steps=none cannot be: input should be a valid integer"),
        ("pretrain steps=1.5", "steps=1.5 cannot be"),
        ("pretrain steps=0", "steps=0 cannot be: input should be greater than or equal to 1"),
        ("pretrain learning_rate=-1", "learning_rate=-1 cannot be: input should be greater than 0"),
        ("pretrain learning_rate=nan", "learning_rate=nan cannot be"),
        ("pretrain learning_rate=inf", "learning_rate=inf cannot be"),
        ("pretrain schedule=triangle", "schedule=triangle cannot be"),
        ("pretrain tied=perhaps", "tied=perhaps cannot be"),
        ("pretrain data={text} threads=4294967296", "threads=4294967296 cannot be"),
        ("pretrain data={text} model=huge", "model=huge is no preset"),
        (
            "pretrain base={pretrain} data={text} parameterization=mup",
            "parameterization=mup is of a fresh transformer without experts, and base= brings",
        ),
        (
            "pretrain data={text} architecture=lstm parameterization=mup",
            "architecture=lstm was given: leave one of the two out",
        ),
        (
            "pretrain data={text} architecture=bert parameterization=mup",
            "parameterization=mup was given, which an encoder has not",
        ),
        ("pretrain data={text} experts=4 parameterization=mup", "experts= was given"),
        ("pretrain steps", "`steps` is neither a field=value nor a config file"),
        ("pretrain --steps", "`--steps` needs a value"),
        ("pretrain seed=99999999999999999999", "seed=99999999999999999999 cannot be"),
        ("tune", "`fledge tune` needs base=…: the run or model folder to start from"),
        ("tune base={pretrain}", "tune needs either data=FILE.jsonl or task=NAME"),
        ("tune base={pretrain} task=reverse data={rows}", "give one of them"),
        ("reward base={tune}", "reward needs either data=FILE.jsonl or task=NAME"),
        ("evaluate base={tune}", "evaluate needs data=FILE (bits per byte) or task=NAME"),
        ("tune base={pretrain} task=revers", "perhaps you meant reverse"),
        (
            "align base={tune} task={letters} baseline=leave_one_out samples_per_prompt=1",
            "samples_per_prompt=1 leaves no other",
        ),
        ("align base={tune} task={letters} algorithm=ppo updates_per_step=7", "into equal parts"),
        (
            "align base={tune} task={letters} ptx_coefficient=1",
            "ptx_coefficient is a setting of algorithm=ppo",
        ),
        ("pretrain here.toml", "the config file here.toml does not exist"),
        ("pretrain data={text} tokenizer=words", "words"),
    ],
)
def test_a_word_that_is_wrong_is_named(
    command: str, said: str, complaint: Complain, tmp_path: Path
) -> None:
    assert said in complaint(command)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("written", "said"), [("steps = [", "is not TOML"), ("stepz = 3", "perhaps you meant `steps`")]
)
def test_a_config_file_that_is_wrong_is_named(
    written: str, said: str, complaint: Complain, tmp_path: Path
) -> None:
    (tmp_path / "here.toml").write_text(written)
    assert said in complaint("pretrain here.toml")


# --- files ---

READERS = {
    "pretrain": ("pretrain data=", ".txt"),
    "pretrain rows": ("pretrain data=", ".jsonl"),
    "tokenizer": ("tokenizer train data=", ".txt"),
    "tune": ("tune base={pretrain} data=", ".jsonl"),
    "tune task": ("tune base={pretrain} task=./", ".jsonl"),
    "reward": ("reward base={tune} data=", ".jsonl"),
    "prefer": ("prefer base={tune} data=", ".jsonl"),
    "distill": ("distill teacher={tune} data=", ".jsonl"),
    "distill text": ("distill teacher={tune} data=", ".txt"),
    "distill task": ("distill teacher={tune} task=./", ".jsonl"),
    "align task": ("align base={tune} task=./", ".jsonl"),
    "align python task": ("align base={tune} task=./", ".py"),
    "evaluate": ("evaluate base={tune} data=", ".txt"),
    "evaluate task": ("evaluate base={tune} task=./", ".jsonl"),
}


@dataclass(frozen=True)
class Reader:
    """A command that reads one file."""

    command: str
    file: Path

    @property
    def row(self) -> dict[str, str]:
        """What stands beside the prompt in a row that the command reads."""
        return (
            {"chosen": "d", "rejected": "e"}
            if self.command.split()[0] in ("reward", "prefer")
            else {"answer": "b"}
        )


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    command, suffix = READERS[request.param]
    return Reader(f"{command}given{suffix}", tmp_path / f"given{suffix}")


def test_a_missing_file_is_named(reader: Reader, complaint: Complain) -> None:
    said = complaint(reader.command)
    assert reader.file.name in said
    assert "does not exist" in said or "there is no" in said


def test_an_empty_file_is_named(reader: Reader, complaint: Complain) -> None:
    reader.file.write_text("")
    said = complaint(reader.command)
    assert reader.file.name in said
    assert "is empty" in said


def test_wrong_utf8_is_named_with_its_line(reader: Reader, complaint: Complain) -> None:
    good = {".txt": "good", ".py": "pass", ".jsonl": json.dumps({"prompt": "a", **reader.row})}
    if reader.command.startswith("pretrain"):
        good[".jsonl"] = '{"text": "c"}'
    line = good[reader.file.suffix].encode() + b"\n"
    reader.file.write_bytes(line * 4 + b'"caf\xe9"\n')
    said = complaint(reader.command)
    assert "is not UTF-8" in said
    assert "line 5" in said


@pytest.mark.parametrize(
    "name",
    [
        "pretrain rows",
        "tune",
        "tune task",
        "reward",
        "prefer",
        "distill",
        "distill task",
        "align task",
        "evaluate task",
    ],
)
def test_a_broken_line_37_is_named_37(name: str, complaint: Complain, tmp_path: Path) -> None:
    command, suffix = READERS[name]
    row = {"text": "words"} if name.startswith("pretrain") else Reader(command, tmp_path).row
    path = rows(tmp_path / f"given{suffix}", 50, **row)
    lines = path.read_text().split("\n")
    lines[36] = lines[36][:-4]
    path.write_text("\n".join(lines))
    said = complaint(f"{command}{path.name}")
    assert "line 37" in said
    assert "is not JSON" in said


@pytest.mark.parametrize(
    "name",
    [
        "tune",
        "tune task",
        "reward",
        "prefer",
        "distill",
        "distill task",
        "align task",
        "evaluate task",
    ],
)
def test_a_row_without_a_prompt_is_named(name: str, complaint: Complain, tmp_path: Path) -> None:
    command, suffix = READERS[name]
    path = rows(tmp_path / f"given{suffix}", 50, **Reader(command, tmp_path).row)
    lines = path.read_text().split("\n")
    lines[11] = lines[11].replace("prompt", "question")
    path.write_text("\n".join(lines))
    said = complaint(f"{command}{path.name}")
    assert "line 12" in said
    assert "`prompt`" in said


# --- models, sizes and room ---

LONG = "a prompt that is a good deal longer than the sixty-four tokens that the tiny model can see"


@pytest.mark.parametrize("command", ["sample base={tune}", "sample base={tune} raw=true"])
def test_sample_says_that_a_prompt_is_longer_than_the_context(
    command: str, complaint: Complain
) -> None:
    assert "the model's context is 64" in complaint(command, f"prompt={LONG}")


@pytest.mark.parametrize(
    "command",
    [
        "tune base={pretrain} data=given.jsonl",
        "tune base={pretrain} task=./given.jsonl",
        "align base={tune} task=./given.jsonl",
        "evaluate base={tune} task=./given.jsonl",
    ],
)
def test_a_task_says_that_its_prompts_are_longer_than_the_context(
    command: str, complaint: Complain, tmp_path: Path
) -> None:
    rows(tmp_path / "given.jsonl", 30, prompt=LONG, answer="yes")
    said = complaint(command)
    assert "context" in said
    assert "64" in said
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ("layers=100000", "layers=100000 cannot be"),
        ("width=1000000000 heads=2", "choose fewer `layers` or a smaller `width`"),
        ("mlp_width=1000000000000", "choose fewer `layers` or a smaller `width`"),
        ("context=1000000000000", "context=1000000000000 cannot be"),
        ("width=17 heads=2", "width=17 cannot be divided among heads=2"),
        ("width=6 heads=2", "must be even"),
        ("heads=2 kv_heads=3", "heads=2 cannot share kv_heads=3"),
        ("tokens_per_step=100", "tokens_per_step=100 is no multiple of the 64 tokens of a row"),
        ("row_tokens=128", "row_tokens=128 is more than the model's context of 64"),
        ("vocab_size=1000", "vocab_size"),
    ],
)
def test_sizes_that_cannot_be_leave_no_run(
    sizes: str, said: str, complaint: Complain, tmp_path: Path
) -> None:
    assert said in complaint(f"{PRETRAIN} out=run {sizes}")
    assert not (tmp_path / "run").exists()


def test_a_text_shorter_than_a_row_leaves_no_run(complaint: Complain, tmp_path: Path) -> None:
    (tmp_path / "short.txt").write_text("A short text.")
    assert "give more text" in complaint(f"{PRETRAIN} out=run data=short.txt")
    assert not (tmp_path / "run").exists()


def test_more_tokens_a_step_than_memory_holds_is_one_sentence(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli([*models.fill(PRETRAIN), f"tokens_per_step={64 * 10**12}"], folder=tmp_path)
    assert "this takes more memory than the machine has" in done.complaint


def test_a_base_brings_its_own_sizes(complaint: Complain) -> None:
    assert "leave out layers, tokenizer" in complaint(
        "pretrain base={pretrain} data={text} layers=1 tokenizer=bytes"
    )


@pytest.mark.parametrize(
    "command",
    [
        TUNE,
        REWARD,
        ALIGN,
        "sample base={tune}",
        "chat base={tune}",
        "evaluate base={tune} data={text}",
    ],
)
def test_a_base_that_is_not_there_is_named(command: str, complaint: Complain) -> None:
    said = complaint(command.replace("{pretrain}", "nowhere").replace("{tune}", "nowhere"))
    assert "nowhere does not exist" in said


def test_a_base_that_is_not_finished_is_named_with_what_finishes_it(
    cli: Cli, models: Models, complaint: Complain, tmp_path: Path
) -> None:
    metrics = tmp_path / "half" / "metrics.jsonl"
    stopped = cli(
        [*models.fill(PRETRAIN), "out=half", "steps=100000"],
        folder=tmp_path,
        signal=15,
        once=metrics,
    )
    assert stopped.code == 128 + 15
    assert "`fledge resume half` finishes it" in complaint(TUNE.replace("{pretrain}", "half"))


def test_a_reward_model_of_another_tokenizer_is_refused(
    cli: Cli, models: Models, complaint: Complain, tmp_path: Path
) -> None:
    for command in (
        f"{PRETRAIN} tokenizer=bpe vocab_size=300 out=other",
        f"{REWARD} out=judge base=other",
    ):
        done = cli(models.fill(command), folder=tmp_path)
        assert done.code == 0, done.stderr
    assert "the reward model judge has another tokenizer than" in complaint(f"{ALIGN} reward=judge")


def test_a_model_that_judges_is_needed_to_judge(complaint: Complain) -> None:
    assert "is not a reward model" in complaint(f"{ALIGN} reward={{tune}}")


def test_a_model_that_speaks_is_needed_to_speak(complaint: Complain) -> None:
    assert "is a reward model" in complaint("sample base={reward}")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_damaged_model_is_named(
    name: str, models: Models, complaint: Complain, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in (models.folder / "tune" / "model").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / name).write_bytes((copy / name).read_bytes()[:-100])
    assert f"copy/{name}" in complaint("sample base=copy")


# --- runs ---


def test_a_run_that_exists_is_not_written_over(models: Models, complaint: Complain) -> None:
    assert "choose another `out`" in complaint(f"{PRETRAIN} out={models.folder / 'pretrain'}")


def test_a_folder_with_something_in_it_is_not_written_over(
    complaint: Complain, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("dear")
    assert "`mine` exists and is not empty: choose another `out`." in complaint(
        f"{PRETRAIN} out=mine"
    )


@pytest.mark.parametrize("command", ["resume nowhere", "report nowhere"])
def test_a_run_that_is_not_there_is_named(command: str, complaint: Complain) -> None:
    assert "`nowhere` is not a run: there is no such folder" in complaint(command)


def test_a_folder_of_runs_that_is_not_there_is_named(complaint: Complain) -> None:
    assert "`nowhere` is no folder" in complaint("runs nowhere")


def test_a_run_whose_settings_this_version_does_not_know_is_named(
    cli: Cli, models: Models, complaint: Complain, tmp_path: Path
) -> None:
    metrics = tmp_path / "half" / "metrics.jsonl"
    cli(
        [*models.fill(PRETRAIN), "out=half", "steps=100000"],
        folder=tmp_path,
        signal=15,
        once=metrics,
    )
    written = tmp_path / "half" / "config.json"
    written.write_text(written.read_text().replace('"steps"', '"stairs"'))
    assert "half/config.json does not fit this fledge" in complaint("resume half")
