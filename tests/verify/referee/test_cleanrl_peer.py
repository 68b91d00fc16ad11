"""A script as CleanRL's ppo.py is built, written here: it is run as it is, and what it computes is
read off it.
"""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from fledge.errors import UserError
from fledge.verify.referee.hear import hear
from fledge.verify.referee.peers import select_hearings

pytestmark = pytest.mark.skipif(find_spec("gymnasium") is None, reason="no gymnasium")

SCRIPT = """
import argparse, random
import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim
from torch.distributions.categorical import Categorical

class Agent(nn.Module):
    def __init__(self, inputs, actions):
        super().__init__()
        self.critic = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 1))
        self.actor = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, actions))

if __name__ == "__main__":
    reader = argparse.ArgumentParser()
    for name, kind in (("env-id", str), ("gamma", float), ("gae-lambda", float)):
        reader.add_argument("--" + name, type=kind)
    for name in ("num-envs", "num-steps", "total-timesteps", "num-minibatches", "update-epochs"):
        reader.add_argument("--" + name, type=int)
    reader.add_argument("--max-grad-norm", type=float)
    reader.add_argument("--ent-coef", type=float, default=0.01)
    reader.add_argument("--norm-adv", action=argparse.BooleanOptionalAction, default=True)
    reader.add_argument("--cuda", action=argparse.BooleanOptionalAction)
    args = reader.parse_args()
    random.seed(1); np.random.seed(1); torch.manual_seed(1)
    open("log.txt", "w").write("a script may write where it is run")
    envs = gym.vector.SyncVectorEnv([lambda: gym.make(args.env_id)])
    agent = Agent(2, envs.single_action_space.n)
    optimizer = optim.Adam(agent.parameters(), lr=0.1)
    n = args.num_steps
    obs, acts = torch.zeros(n, 2), torch.zeros(n, dtype=torch.long)
    logp, rew, done, val = (torch.zeros(n + 1) for _ in range(4))
    now, _ = envs.reset(seed=1)
    for t in range(n):
        obs[t] = torch.Tensor(now)[0]
        with torch.no_grad():
            law = Categorical(logits=agent.actor(obs[t][None]))
            action = law.sample()
            logp[t], val[t], acts[t] = law.log_prob(action), agent.critic(obs[t]), action
        now, reward, over, cut, _ = envs.step(action.numpy())
        rew[t], done[t] = float(reward[0]), float(over[0] or cut[0])
    with torch.no_grad():
        val[n] = agent.critic(torch.Tensor(now)[0])
    adv, later = torch.zeros(n), 0.0
    for t in reversed(range(n)):
        goes = 1 - done[t] * FORGETS
        later = rew[t] + args.gamma * val[t + 1] * goes - val[t] + (
            args.gamma * args.gae_lambda * goes * later)
        adv[t] = later
    back, old = adv + val[:n], logp[:n]
    order = np.arange(n)
    for epoch in range(args.update_epochs):
        np.random.shuffle(order)
        for part in np.array_split(order, args.num_minibatches):
            law = Categorical(logits=agent.actor(obs[part]))
            ratio = (law.log_prob(acts[part]) - old[part]).exp()
            a = adv[part]
            if args.norm_adv:
                a = (a - a.mean()) / (a.std() + 1e-8)
            critic = 0.5 * (agent.critic(obs[part]).view(-1) - back[part]).square().mean()
            loss = -(a * ratio).mean() - args.ent_coef * law.entropy().mean() + 0.5 * critic
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()
"""
PLAIN = {"norm_adv": False, "ent_coef": 0.0, "gamma": 1.0, "gae_lambda": 1.0}


def write(folder: Path, forgets: int = 1, text: str = SCRIPT) -> Path:
    file = folder / "ppo.py"
    file.write_text(text.replace("FORGETS", str(forgets)))
    return file


def test_the_script_is_read_whole_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer gymnasiums spend a step on every reset, which such a script learns from."""
    monkeypatch.chdir(tmp_path)
    random.seed(5)
    torch.manual_seed(5)
    before = (random.getstate(), torch.get_rng_state())
    [hearing] = select_hearings("cleanrl:ppo", PLAIN, write(tmp_path))
    ruling: Any = hear(hearing)
    assert (random.getstate(), torch.get_rng_state().tolist()) == (before[0], before[1].tolist())
    assert [each.name for each in tmp_path.iterdir()] == ["ppo.py"]
    assert ruling.equation.startswith("A, mean over steps; 0.5 × ½(V − R)²; a truncated")
    assert (ruling.scale, ruling.bias) == pytest.approx((1 / 3, 0), abs=1e-5)
    assert (ruling.second.by, ruling.second.agrees) == ("differences", True)
    assert ruling.command.startswith("fledge verify peer=cleanrl:ppo file=ppo.py norm_adv=False")


def test_a_script_that_forgets_ends_is_named(tmp_path: Path) -> None:
    [hearing] = select_hearings("cleanrl:ppo", PLAIN, write(tmp_path, forgets=0))
    ruling: Any = hear(hearing)
    assert ruling.equation == ""
    assert "none of the equations fits" in ruling.faults[0]


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [
        ({"colour": 3}, SCRIPT, "cleanrl:ppo refuses colour=3: its command line does not know"),
        ({}, SCRIPT.replace("nn.Linear(8, 1)", "nn.Linear(8, 3)"), "wants an actor and a critic"),
        ({}, "import tyro_of_tomorrow", "pip install tyro_of_tomorrow"),
    ],
)
def test_a_script_that_cannot_be_heard_is_one_sentence(
    tmp_path: Path, setting: dict[str, Any], text: str, said: str
) -> None:
    hearing: Any = select_hearings("cleanrl:ppo", setting, write(tmp_path, text=text))[0]
    with pytest.raises(UserError, match=said):
        hearing.build(hearing.problem)


def test_a_file_that_is_missing_or_for_nobody_is_one_sentence(tmp_path: Path) -> None:
    hearing: Any = select_hearings("cleanrl:ppo", {})[0]
    with pytest.raises(UserError, match=r"no file was given: give file=ppo\.py"):
        hearing.build(hearing.problem)
    with pytest.raises(UserError, match="says nothing to peer=trl:grpo"):
        select_hearings("trl:grpo", {}, tmp_path / "ppo.py")
