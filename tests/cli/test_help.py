"""`fledge --help` is quick, `fledge VERB --help` is complete, and every way to give a field means
the same.
"""

from __future__ import annotations

import json
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.commands import PRETRAIN, Cli, Models, environment, process

from fledge.cli.verbs import VERBS


def test_help_does_not_import_torch(tmp_path: Path) -> None:
    for words in (["--help"], ["--version"], ["no-such-verb"]):
        timed = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "fledge", *words], cwd=tmp_path,
            capture_output=True, text=True, env=environment(), check=False,
        )  # fmt: skip
        imported = {
            line.rpartition("|")[2].strip()
            for line in timed.stderr.splitlines()
            if line.startswith("import time:")
        }
        assert "fledge.cli.main" in imported or "fledge.cli.verbs" in imported
        assert not imported & {"torch", "numpy", "pydantic", "rich"}


def test_help_takes_half_a_second_at_most(tmp_path: Path) -> None:
    """Processor time, which does not count what else the machine does: median of 5."""
    seconds = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert process("--help", folder=tmp_path).code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(seconds) <= 0.5


def test_help_lists_every_verb(cli: Cli, tmp_path: Path) -> None:
    listed = cli("--help", folder=tmp_path)
    assert listed.code == 0
    assert all(f"\n  {name} " in listed.stdout for name in VERBS)
    assert cli([], folder=tmp_path).stdout == listed.stdout
    assert cli("help", folder=tmp_path).stdout == listed.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_every_field_with_its_meaning(
    verb: str, cli: Cli, tmp_path: Path
) -> None:
    done = cli(f"{verb} --help all", folder=tmp_path)
    assert done.code == 0
    assert "typing." not in done.stdout  # Python's own spelling of a type
    lines = done.stdout.splitlines()
    for name, field in VERBS[verb].config.model_fields.items():
        [line] = [line for line in lines if line.startswith(f"{name} ")]
        assert field.description is not None
        assert field.description.split()[0] in line
        assert max(len(line) for line in lines) <= 100
    about = lines[: lines.index("")]
    assert about[0].startswith(f"fledge {verb}: ")
    assert not any(line.startswith(" ") for line in about)  # the source's own indentation


def test_module_and_console_script_agree(cli: Cli, tmp_path: Path) -> None:
    script = shutil.which("fledge", path=str(Path(sys.executable).parent))
    start = (
        [script]
        if script
        else ["-c", "import sys; from fledge.cli.main import main; sys.argv[0] = 'fledge'; main()"]
    )
    for words in (["--version"], ["--help"], ["runs", "."], ["runs", "nowhere"], ["xyzzy"]):
        module = process(*words, folder=tmp_path)
        other = process(*words, folder=tmp_path, module=start)
        forked = cli(words, folder=tmp_path)
        assert module == other
        assert (forked.code, forked.stdout, forked.stderr) == (
            module.code,
            module.stdout,
            module.stderr,
        )


def test_a_field_means_the_same_however_it_is_given(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    [_, *given] = models.fill(PRETRAIN)
    pairs = [word.split("=", 1) for word in given]
    flags = [part for name, value in pairs for part in (f"--{name.replace('_', '-')}", value)]
    toml = "".join(
        f"{name} = {value if value.isdigit() else json.dumps(value)}\n" for name, value in pairs
    )
    (tmp_path / "config.toml").write_text(toml.replace("steps = 12", "steps = 3"))
    ways = {
        "equals": given,
        "flags": flags,
        "flags-with-equals": [f"--{word}" for word in given],
        "file": ["config.toml", "steps=12"],
        "file-last": ["--steps", "12", "config.toml"],
    }
    configs = []
    for out, words in ways.items():
        done = cli(["pretrain", *words, f"out={out}"], folder=tmp_path)
        assert done.code == 0, done.stderr
        configs.append(
            json.loads((tmp_path / out / "config.json").read_text())["config"] | {"out": ""}
        )
    assert all(config == configs[0] for config in configs)
    assert configs[0]["steps"] == 12


def test_a_config_file_alone_is_enough(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "here.toml").write_text('root = "."\n')
    assert cli("runs here.toml --json", folder=tmp_path).result == {"root": ".", "runs": []}


def test_a_word_alone_gives_the_field_that_a_verb_is_about(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    given = cli(models.fill("sample base={tune} seed=3 --json"), folder=tmp_path).result
    alone = cli(models.fill("sample {tune} seed=3 --json"), folder=tmp_path).result
    assert given["completions"][0]["completion"] == alone["completions"][0]["completion"]


def test_the_word_none_is_a_text_where_a_text_is_wanted(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert (
        cli(models.fill("sample {tune} prompt=none --json"), folder=tmp_path).result["prompt"]
        == "none"
    )
