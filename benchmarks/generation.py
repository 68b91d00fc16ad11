"""Every benchmark of what `fledge imagine` makes, each in a process of its own:

  generation_autoregressive.py   drawing with what was kept, beside whole passes and GPT-2's cache
  generation_mnist.py            nats of binarised MNIST by every family, with `--pictures`
  generation_digits.py           seconds that each family takes on the package's digits
  generation_vae.py              a VAE's training step beside pythae's loop
  generation_diffusion.py        a U-Net's step beside diffusers'; few steps beside many

A part that cannot run (a peer is not installed) is an aim that does not hold, with the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from side_by_side import finish, options, say

HERE = Path(__file__).parent
PARTS = (
    "generation_autoregressive", "generation_mnist", "generation_digits", "generation_vae",
    "generation_diffusion",
)  # fmt: skip


def main() -> None:
    given = options(__doc__, pictures="MNIST's t10k-images-idx3-ubyte.gz, for generation_mnist.py")
    ratios: dict[str, float] = {}
    figures: dict[str, Any] = {}
    aims: list[dict[str, Any]] = []
    for part in PARTS:
        say(part)
        try:
            pictures = given.pictures if part == "generation_mnist" else None
            result = run(part, given.quick, pictures)
        except (subprocess.CalledProcessError, ValueError) as error:
            aims.append({"name": part, "figure": 0.0, "aim": f"runs: {error}", "holds": False})
            continue
        ratios |= result["ratios"]
        figures[part] = result["figures"]
        aims += result["aims"]
    finish(given.json, "", ratios, figures, {}, aims)


def run(part: str, quick: bool, pictures: str | None) -> dict[str, Any]:
    """The one JSON object that it prints.  Raises CalledProcessError where it fails."""
    command = [sys.executable, str(HERE / f"{part}.py"), "--json"]
    command += ["--quick"] * quick + (["--pictures", pictures] if pictures else [])
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
