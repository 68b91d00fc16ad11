"""A run of Tianshou's is saved halfway, as its own examples save one, and carried on by another
algorithm: are the weights those of a run that went through?
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tianshou.data import (  # pyright: ignore[reportMissingImports]
    Collector,
    VectorReplayBuffer,
)
from tianshou.env import DummyVectorEnv  # pyright: ignore[reportMissingImports]
from tianshou.trainer import (  # pyright: ignore[reportMissingImports]
    OffPolicyTrainerParams,
    OnPolicyTrainerParams,
)
from tianshou.utils import TensorboardLogger  # pyright: ignore[reportMissingImports]
from torch.utils.tensorboard import SummaryWriter

from fledge.generators import seed_generators
from fledge.verify.referee.second_way import tell_apart
from fledge.verify.referee.small_world import STEPS, SmallWorld, read_weights

COLLECTED = 8  # steps between updates


def compare_saved(build: Callable[[], Any]) -> str:
    """build: -> an algorithm of discrete actions at its first weights.

    Two epochs beside one that is saved with its replay buffer as it ends and one more of another
    algorithm, which resumes from the log and has the same seed.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        through = build()
        before = read_weights(through.parameters())
        _train(through, folder / "through", epochs=2)
        _train(build(), folder / "half", epochs=1)
        resumed = build()
        _train(resumed, folder / "half", epochs=2, resume=True)
        ends = read_weights(through.parameters()), read_weights(resumed.parameters())
        return tell_apart(before, *ends)


def _train(algorithm: Any, folder: Path, epochs: int, resume: bool = False) -> None:
    seed_generators(0)
    worlds = DummyVectorEnv([lambda: SmallWorld(False)])
    worlds.seed(0)
    memory = VectorReplayBuffer(STEPS, 1)
    if resume:
        algorithm.load_state_dict(torch.load(folder / "algorithm.pt"))
        memory = pickle.loads((folder / "replay.pkl").read_bytes())
    collector = Collector(algorithm, worlds, memory, exploration_noise=True)

    def save(epoch: int, env_step: int, gradient_step: int) -> str:
        torch.save(algorithm.state_dict(), folder / "algorithm.pt")
        (folder / "replay.pkl").write_bytes(pickle.dumps(collector.buffer))
        return str(folder / "algorithm.pt")

    writer = SummaryWriter(str(folder))
    on_policy = hasattr(algorithm, "critic")
    kind = OnPolicyTrainerParams if on_policy else OffPolicyTrainerParams
    own = {"update_step_num_repetitions": 2} if on_policy else {}
    algorithm.run_training(
        kind(
            training_collector=collector, max_epochs=epochs, epoch_num_steps=STEPS // 2,
            collection_step_num_env_steps=COLLECTED, batch_size=COLLECTED, save_checkpoint_fn=save,
            logger=TensorboardLogger(writer, save_interval=1), resume_from_log=resume,
            verbose=False, show_progress=False, **own,
        )
    )  # fmt: skip
    writer.close()
