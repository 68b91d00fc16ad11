"""What the command line does for somebody who types the trade's words, a run's own config, on a
narrow screen, into a closed pipe.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.commands import TUNE, Cli, Models, environment

from fledge.cli.trade_words import TRADE_WORDS
from fledge.cli.verbs import VERBS


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("grpo", "fledge align algorithm=grpo"),
        ("sft", "fledge tune"),
        ("dpo", "fledge prefer algorithm=dpo"),
        ("fine-tune", "fledge tune"),
        ("convert", "fledge export"),
        ("deploy", "fledge serve"),
        ("dqn", "fledge control algorithm=dqn"),
        ("gmm", "fledge fit model=gmm"),
        ("clustering", "fledge fit model=gmm"),
        ("pretrian", "fledge pretrain"),
    ],
)
def test_the_words_of_the_trade_lead_to_the_verb(
    word: str, said: str, cli: Cli, tmp_path: Path
) -> None:
    assert said in cli(f"{word} base=x", folder=tmp_path).complaint


def test_an_algorithm_that_is_hinted_at_exists() -> None:
    for sentence in TRADE_WORDS.values():
        verb, _, name = sentence.partition("algorithm=")
        if name:
            field = VERBS[verb.split("fledge ")[1].strip()].config.model_fields["algorithm"]
            assert name.rstrip("`.") in str(field.annotation) + (field.description or "")


def test_the_config_of_a_run_starts_another_like_it(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    first = cli([*models.fill(TUNE), "steps=2", "out=first"], folder=tmp_path)
    assert first.code == 0, first.stderr
    again = cli("tune first/config.json out=again", folder=tmp_path)
    assert again.code == 0, again.stderr
    read = [
        json.loads((tmp_path / name / "config.json").read_text())["config"]
        for name in ("first", "again")
    ]
    assert read[0] | {"out": ""} == read[1] | {"out": ""}
    weights = [
        (tmp_path / name / "model" / "model.safetensors").read_bytes()
        for name in ("first", "again")
    ]
    assert weights[0] == weights[1]
    assert "is of `fledge tune`" in cli("reward first/config.json", folder=tmp_path).complaint
    assert (
        "not the config.json of a run"
        in cli("tune first/model/config.json", folder=tmp_path).complaint
    )


def test_runs_keep_steps_and_figure_at_eighty_columns(cli: Cli, models: Models) -> None:
    listed = cli("runs .", folder=models.folder, environment={"COLUMNS": "80"})
    lines = listed.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    [row] = [line for line in lines if "tune" in line.split()]
    assert {"steps", "figure"} <= set(lines[0].split())
    assert row.split()[-1][-1].isdigit() or row.split()[-1] == "%"


def test_needed_fields_stand_first_and_two_examples_last(cli: Cli, tmp_path: Path) -> None:
    lines = [line.strip() for line in cli("align --help", folder=tmp_path).stdout.splitlines()]
    needed, own = lines.index("needed"), lines.index("its own")
    assert [line.split()[0] for line in lines[needed + 1 : own] if line][:1] == ["base"]
    assert lines[-2].startswith("fledge align")
    assert lines[-1].startswith("fledge align")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_reads_its_completion(shell: str, cli: Cli, tmp_path: Path) -> None:
    script = cli(f"completion {shell} --json", folder=tmp_path).result["script"]
    assert "algorithm=" in script
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    (tmp_path / "script").write_text(script)
    subprocess.run(
        [shell, "--no-execute" if shell == "fish" else "-n", "script"], cwd=tmp_path, check=True
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("fledge al", ["align"]),
        ("fledge tune schedule=co", ["constant", "cosine"]),
        ("fledge tokenizer sh", ["show"]),
        ("fledge show sa", ["sampling"]),
        ("fledge show rope fac", ["factor="]),
    ],
)
def test_bash_completes_verbs_fields_and_choices(
    typed: str, offered: list[str], cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "script").write_text(
        cli("completion bash --json", folder=tmp_path).result["script"]
    )
    words = typed.replace("=", " = ").split()
    ask = (
        f". ./script; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        f"COMP_LINE='{typed}'; "
        f'COMP_POINT={len(typed)}; _fledge 2>/dev/null; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(
        ["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered


@pytest.mark.parametrize("how", ["a reader that goes", "no output", "ascii"])
def test_an_output_that_hears_nothing_ends_no_run(how: str, models: Models, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "fledge", *models.fill(TUNE), "steps=3", "out=run"]
    given = environment() | (
        {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"} if how == "ascii" else {}
    )
    if how == "a reader that goes":
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            words, cwd=tmp_path, env=given, stdout=writing, stderr=subprocess.PIPE, check=False
        )
        os.close(writing)
    elif how == "no output":
        line = f"exec {' '.join(words)} >&-"
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=given, stderr=subprocess.PIPE, check=False
        )
    else:
        done = subprocess.run(words, cwd=tmp_path, env=given, capture_output=True, check=False)
        assert b"\\u2192" in done.stdout  # the arrow, spelled out
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_run_may_be_made_in_any_thread(models: Models, tmp_path: Path) -> None:
    script = (
        "import threading, sys\n"
        "from fledge.cli.main import main\n"
        "codes = []\n"
        "def work():\n"
        "    try: main(sys.argv[1:])\n"
        "    except SystemExit as end: codes.append(end.code)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
        "sys.exit(codes[0] if codes else 99)\n"
    )
    words = [*models.fill(TUNE), "steps=2", "out=run"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
