"""One step of a trainer in two processes beside the same step in one: is the gradient that of the
whole batch? Run as a module it is one of the two, and rank 0 writes what the step added.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from fledge.errors import UserError
from fledge.verify.referee.equations import distance
from fledge.verify.referee.question import Hearing, Peer

WORLD = 2
PATIENCE_S = 300
# One step whose difference of weights is the gradient.
PLAIN_STEP: dict[str, Any] = {
    "max_steps": 1,
    "optim": "sgd",
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "save_strategy": "no",
    "logging_strategy": "no",
}


@runtime_checkable
class Spreads(Protocol):
    def step_once(self, rank: int, world: int) -> Tensor:
        """What one optimizer step adds to the weights when this is one process of `world`, all of
        which together have the same rows.
        """
        ...


def compare_ranks(hearing: Hearing, peer: Peer) -> float | None:
    """How far the step of two processes lies from that of one, relative; None where a peer cannot
    be asked. Raises UserError where the processes end without a step.
    """
    if not isinstance(peer, Spreads):
        return None
    alone = peer.step_once(0, 1)
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        place = Path(folder) / "step.safetensors"
        asked = [hearing.peer, json.dumps(hearing.setting), str(place)]
        running = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, *asked],
                env=os.environ
                | {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "WORLD_SIZE": str(WORLD),
                    "MASTER_ADDR": "127.0.0.1",
                    "MASTER_PORT": str(port),
                    "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
                },
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(WORLD)
        ]
        try:
            said = [process.communicate(timeout=PATIENCE_S)[1] for process in running]
        except subprocess.TimeoutExpired:
            said = [f"Error: they waited for more than {PATIENCE_S} s"]
        finally:
            for process in running:
                process.kill()
        if not place.exists():
            lines = [line for each in said for line in each.splitlines() if "Error" in line]
            told = lines[-1] if lines else "nothing was said"
            raise UserError(
                f"{hearing.peer} took no step in two processes of this machine ({told}): give a "
                "setting of its own, for which that is not tried."
            )
        return distance(load_file(place)["added"], alone)


def take_step(build: Callable[..., Any], **more: Any) -> Tensor:
    """build: a folder and further arguments of the trainer -> a trainer.  -> flat"""
    with tempfile.TemporaryDirectory(prefix="fledge-referee-") as folder:
        trainer = build(folder, **PLAIN_STEP, **more)
        before = trainer.model.lm_head.weight.detach().clone()
        trainer.train()
        return (trainer.model.lm_head.weight.detach() - before).double().flatten()


def main(peer: str, setting: str, place: str) -> None:
    from fledge.verify.referee.peers import select_hearings  # which knows this file

    hearing = select_hearings(peer, json.loads(setting))[0]
    assert isinstance(hearing, Hearing)
    torch.set_num_threads(1)
    built: Any = hearing.build(hearing.problem)
    rank = int(os.environ["RANK"])
    added = built.step_once(rank, int(os.environ["WORLD_SIZE"]))
    if rank == 0:
        save_file({"added": added}, place)


if __name__ == "__main__":
    main(*sys.argv[1:])
