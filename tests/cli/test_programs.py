"""Characters as programs through the real command line: learned, drawn, named, and a run that was
killed.
"""

from __future__ import annotations

import signal
import zipfile
from pathlib import Path

import pytest
from tests.cli.commands import Cli

from fledge.images.png import encode_png
from fledge.images.scribbles import draw_scribbles

LEARN = "imagine model=programs data=scribbles steps=4 primitives=8 samples=4 save_every_s=0"


@pytest.fixture(scope="module")
def made(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    done = cli(f"{LEARN} out=run", folder=folder)
    assert done.code == 0, done.stderr
    assert "no density" in done.stdout
    return folder


def write_runs(path: Path, characters: int = 3) -> Path:
    x = 255 * (1 - draw_scribbles(characters, hands=2, seed=5).rows.x[:, 0].numpy())
    with zipfile.ZipFile(path, "w") as archive:
        labels = ""
        for i in range(characters):
            names = f"run01/test/item{i}.png", f"run01/training/class{i}.png"
            for name, pixels in zip(names, x[2 * i : 2 * i + 2], strict=True):
                archive.writestr(name, encode_png(pixels[:, :, None]))
            labels += " ".join(names) + "\n"
        archive.writestr("run01/class_labels.txt", labels)
    return path


def test_sheets_and_samples(made: Path, cli: Cli) -> None:
    for sheet in ("samples", "readings", "hands"):
        assert (made / "run" / f"{sheet}.png").stat().st_size > 500
    done = cli("sample run samples=5 out=five.png seed=3", folder=made)
    assert done.code == 0, done.stderr
    assert (made / "five.png").read_bytes().startswith(b"\x89PNG")


def test_characters_are_named(made: Path, cli: Cli, tmp_path: Path) -> None:
    runs = write_runs(tmp_path / "all_runs.zip")
    done = cli(f"evaluate run data={runs}", folder=made)
    assert done.code == 0, done.stderr
    assert "run01: 0 of 3 wrong" in done.stdout
    assert "error 0.0% of 3 in 1 runs" in done.stdout


def test_a_run_that_was_killed_goes_on_with_the_same_bits(
    made: Path, cli: Cli, tmp_path: Path
) -> None:
    killed = cli(
        f"{LEARN} out=run", folder=tmp_path, signal=signal.SIGKILL,
        once=tmp_path / "run" / "checkpoints",
    )  # fmt: skip
    assert killed.code == -signal.SIGKILL
    resumed = cli("resume run", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    for file in ("model/model.safetensors", "samples.png", "hands.png"):
        assert (tmp_path / "run" / file).read_bytes() == (made / "run" / file).read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("imagine model=programs data=digits", "strokes are known"),
        ("evaluate run data=nowhere.zip", "there is no nowhere.zip"),
        ("evaluate run data=five.txt", "cannot be read"),
        ("evaluate run task=reverse", "task"),
    ],
)
def test_mistakes_are_one_sentence(made: Path, cli: Cli, words: str, says: str) -> None:
    (made / "five.txt").write_text("no archive")
    done = cli(words, folder=made)
    assert done.code == 2
    assert says in done.complaint
