"""`fledge imagine model=diffusion` and its kin as they are typed: trained, drawn from in other ways
than they were trained for, and on the codes of another run.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import DIFFUSION, Cli

SMALL = "rows_per_step=8 judged_steps=2 samples=10 sampling_steps=2 precision=fp32 compile=no"
LATENT = f"imagine model=latent_diffusion base=vae steps=4 width=8 {SMALL}"
VQ = "imagine model=vq steps=4 channels=8 prior_width=16 prior_layers=1 rows_per_step=8 samples=0 "


@pytest.fixture
def trained(cli: Cli, tmp_path: Path) -> Path:
    done = cli(f"{DIFFUSION} out=run", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "Nats are a bound" in done.stdout
    return tmp_path


def test_a_diffusion_is_drawn_from_in_other_ways(cli: Cli, trained: Path) -> None:
    summary = json.loads((trained / "run/summary.json").read_text())
    assert summary["measure"] == "bound"
    shown = {sheet["file"] for sheet in summary["sheets"]}
    assert {"samples.png", "data.png", "denoising.png"} <= shown
    pictures = set()
    for words in (
        "", "sampler=ddim", "sampler=ddim eta=1", "sampler=ddpm sampling_steps=5",
        "sampler=heun sampling_steps=3", "guidance=3", "guidance=0", "label=7",
    ):  # fmt: skip
        done = cli(f"sample run samples=10 out=out.png {words}", folder=trained)
        assert done.code == 0, done.stderr
        pictures.add((trained / "out.png").read_bytes())
    # what has learned so little says the same by every label
    assert len(pictures) >= 6
    again = cli("sample run samples=10 out=out.png label=7", folder=trained)
    assert again.code == 0
    assert (trained / "out.png").read_bytes() in pictures


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sampler=euler", "sampler"),
        ("sampling_steps=0", "sampling_steps"),
        ("eta=2", "eta"),
        ("label=x", "there is no label x"),
        ("solver=heun", "solver"),
    ],
)
def test_what_cannot_be_drawn_is_said(cli: Cli, trained: Path, words: str, said: str) -> None:
    assert said in cli(f"sample run {words}", folder=trained).complaint


def test_help_says_how_this_model_draws(cli: Cli, trained: Path) -> None:
    shown = cli("sample base=run --help", folder=trained).stdout
    assert "ancestral" in shown
    assert "guidance" in shown
    assert "max_new_tokens" not in shown


def test_codes_of_another_run_are_diffused(cli: Cli, tmp_path: Path) -> None:
    vae = cli(f"imagine model=vae latents=3 width=8 steps=4 {SMALL.split(' judged')[0]} out=vae",
              folder=tmp_path)  # fmt: skip
    assert vae.code == 0, vae.stderr
    done = cli(f"{LATENT} by_label=true out=latent", folder=tmp_path)
    assert done.code == 0, done.stderr
    lineage = json.loads((tmp_path / "latent/lineage.json").read_text())
    assert "vae" in json.dumps(lineage["parents"])
    (tmp_path / "vae").rename(tmp_path / "moved")  # the model has all that it needs
    drawn = cli("sample latent samples=4 label=3 out=out.png", folder=tmp_path)
    assert drawn.code == 0, drawn.stderr


def test_codes_that_have_places_are_diffused_by_a_unet(cli: Cli, tmp_path: Path) -> None:
    vq = cli(f"{VQ} precision=fp32 compile=no out=vae", folder=tmp_path)
    assert vq.code == 0, vq.stderr
    done = cli(f"{LATENT} network=unet multiples=1,2 out=latent", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert json.loads((tmp_path / "latent/summary.json").read_text())["measure"] == "none"


def test_a_flow_is_trained_and_drawn_from(cli: Cli, tmp_path: Path) -> None:
    done = cli(f"imagine model=flow steps=4 width=8 {SMALL} out=flow", folder=tmp_path)
    assert done.code == 0, done.stderr
    assert "Nats are an estimate" in done.stdout
    drawn = cli("sample flow samples=4 solver=euler out=out.png", folder=tmp_path)
    assert drawn.code == 0, drawn.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("model=latent_diffusion", "base=RUN"),
        ("model=latent_diffusion base=nowhere", "nowhere"),
        ("model=diffusion noise_steps=1", "2 steps or more"),
        ("model=diffusion noise_steps=0 variance=learned", "continuous time"),
        ("model=diffusion multiples=", "multiples"),
        ("model=diffusion prediction=y", "prediction"),
    ],
)
def test_what_cannot_be_trained_is_said(cli: Cli, tmp_path: Path, words: str, said: str) -> None:
    assert said in cli(f"imagine {words}", folder=tmp_path).complaint
