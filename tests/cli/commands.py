"""Starts the command line as a user does, sends it signals, and reads what it printed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = Path(__file__).with_name("fork_server.py")

# Where a model stands that the session's fixture has made: {pretrain}, {tune}, {reward}; and files:
# {text}, {rows} …
_QUICK = "precision=fp32 compile=no"
PRETRAIN = (
    f"pretrain data={{text}} tokenizer=bytes layers=1 width=16 heads=2 context=64 steps=12 "
    f"tokens_per_step=256 evaluate_every=5 evaluation_rows=8 {_QUICK}"
)
TUNE = f"tune base={{pretrain}} data={{rows}} steps=12 rows_per_step=8 evaluate_every=5 {_QUICK}"
REWARD = (
    "reward base={tune} data={pairs} steps=12 pairs_per_step=8 evaluate_every=5 precision=fp32 "
    "compile=no"
)
PREFER = REWARD.replace("reward base", "prefer base")
# Dropout draws from the generator that everybody shares.
ADAPTER = "adapter=lora adapter_rank=2 adapter_dora=true adapter_dropout=0.2 base_weights=nf4"
DISTILL = (
    "distill teacher={tune} task={letters} kind=jsd on_policy=0.5 layers=1 width=8 heads=2 "
    f"steps=8 rows_per_step=8 max_new_tokens=8 evaluate_every=4 evaluation_prompts=8 {_QUICK}"
)
COMPRESS = (
    "compress base={pretrain} method=structured data={text} sparsity=0.25 calibration_rows=4 "
    "evaluation_rows=4"
)
ALIGN = (
    "align base={tune} task={letters} steps=5 prompts_per_step=8 samples_per_prompt=2 "
    "max_new_tokens=8 evaluate_every=2 evaluation_prompts=8 precision=fp32 compile=no"
)
PPO = f"{ALIGN} algorithm=ppo reward={{reward}} kl_target=0.5"
REINFORCE = f"{ALIGN} algorithm=reinforce"
GRPO = f"{ALIGN} algorithm=grpo updates_per_step=4 epochs=2 optimizer=muon"
REST_EM = f"{ALIGN} algorithm=rest_em threshold=0.3 updates_per_step=2"
CONTROL = (
    "control world=CartPole-v1 steps=700 evaluate_every=300 evaluation_episodes=2 pictures=false"
)
CONTROL_PPO = (
    f"{CONTROL} algorithm=ppo copies=4 steps_per_batch=16 rows_per_update=16 epochs=2 "
    "normalise=true scale_rewards=true"
)
CONTROL_DQN = (
    f"{CONTROL} algorithm=dqn buffer=1000 copies=4 learning_starts=100 updates_per_step=8 "
    "widths=16,16 prioritised=true n_step=3"
)
CONTROL_SAC = (
    "control world=Pendulum-v1 algorithm=sac steps=300 copies=2 steps_per_batch=8 "
    "updates_per_step=4 learning_starts=50 widths=16,16 evaluate_every=100 evaluation_episodes=2 "
    "pictures=false"
)
CONTROL_TABLE = (
    "control world=gridworld algorithm=q_learning steps=4000 copies=4 steps_per_batch=20 "
    "evaluate_every=1000 evaluation_episodes=2 pictures=false"
)
CONTROL_MPC = (
    f"{CONTROL} algorithm=mpc learning_starts=60 updates_per_step=4 horizon=3 candidates=8 kept=2 "
    "members=2 widths=16 novelty=rnd steps=150 evaluate_every=75"
)
CONTROL_DREAMER = (
    "control world=drawn:gridworld algorithm=dreamer steps=150 copies=2 steps_per_batch=8 "
    "learning_starts=40 updates_per_step=1 rows_per_update=4 window_steps=4 imagined_steps=3 "
    "widths=16 evaluate_every=75 evaluation_episodes=2 pictures=false"
)
CONTROL_SWEEPING = CONTROL_TABLE.replace("q_learning", "prioritised_sweeping count_bonus=0.1")
CONTROL_PSRL = (
    "control world=deep_sea:4 algorithm=psrl steps=400 steps_per_batch=5 evaluate_every=100 "
    "evaluation_episodes=2 pictures=false"
)
FIT = "fit model=gmm data={points} k=3 steps=12 tolerance=0"
FIT_BLOCKS = f"{FIT} em=incremental block_points=40"
FIT_MANY = "fit model=gmm data={points} k=1..3 steps=5 covariance=diagonal"
FIT_CHAIN = "fit model=hmm data={text} unit=letters k=2 starts=1 steps=40 tolerance=0"
FIT_SPACE = "fit model=kalman data={walks} sequence=walk steps=100 tolerance=0"
IMAGINE = (
    "imagine model=vae steps=12 rows_per_step=8 width=16 latents=2 draws=2 samples=8 "
    "judged_samples=0 augment=shift,turn evaluate_every=5 precision=fp32 compile=no"
)
IMAGINE_GAN = (
    "imagine model=gan steps=12 rows_per_step=8 width=16 latents=2 critic_steps=2 spectral=true "
    "by_label=true samples=10 judged_samples=20 precision=fp32 compile=no"
)
IMAGINE_COUNTED = "imagine model=chow_liu rows_per_step=150 samples=4 judged_samples=0"
IMAGINE_MADE = (
    "imagine model=made width=16 masks=3 steps=12 rows_per_step=8 samples=4 judged_samples=0 "
    "evaluate_every=5 binarise=threshold precision=fp32 compile=no"
)
DIFFUSION = (
    "imagine model=diffusion by_label=true variance=learned steps=12 rows_per_step=8 width=8 "
    "judged_steps=2 samples=10 judged_samples=0 sampling_steps=2 evaluate_every=5 "
    "precision=fp32 compile=no"
)
IMAGINE_VQ = (
    "imagine model=vq steps=12 rows_per_step=8 channels=8 codes=8 code_width=4 prior_layers=1 "
    "prior_width=16 prior_heads=2 samples=8 judged_samples=0 augment=shift evaluate_every=5 "
    "precision=fp32 compile=no"
)
SELFPLAY = (
    "selfplay tictactoe steps=6 games=8 simulations=6 updates_per_step=3 learning_starts=20 "
    "rows_per_update=16 channels=4 blocks=1 match_games=4 match_simulations=4 rollouts=4 "
    "evaluate_every=2"
)
STAGES = {
    "pretrain": PRETRAIN,
    "tune": TUNE,
    "reward": REWARD,
    "prefer": PREFER,
    "distill": DISTILL,
    "align ppo": PPO,
    "align reinforce": REINFORCE,
    "align grpo": GRPO,
    "tune adapter": f"{TUNE} {ADAPTER}",
    "prefer adapter": f"{PREFER} {ADAPTER} adapter_saves=embed_tokens",
    "align rest_em": REST_EM,
    "control ppo": CONTROL_PPO,
    "control dqn": CONTROL_DQN,
    "control sac": CONTROL_SAC,
    "control q_learning": CONTROL_TABLE,
    "fit gmm": FIT,
    "fit blocks": FIT_BLOCKS,
    "fit several": FIT_MANY,
    "fit hmm": FIT_CHAIN,
    "fit kalman": FIT_SPACE,
}
ENCODER = PRETRAIN.replace(" heads=2", " heads=2 architecture=bert")
SENTENCES = (
    "imagine data={text} width=8 latents=2 draws=2 steps=40 rows_per_step=8 samples=2 "
    f"evaluate_every=15 {_QUICK}"
)
# What differs from `pretrain` and from `tune adapter` in what a checkpoint holds.
KINDS = {
    "pretrain carried": PRETRAIN.replace(" heads=2", " architecture=lstm carry=true dropout=0.2"),
    "pretrain mup": f"{PRETRAIN} parameterization=mup optimizer=muon",
    "pretrain packed": f"{PRETRAIN} packing=best_fit curriculum=length",
    "pretrain replaced": f"{ENCODER} objective=rtd masking=spans",
    "tune houlsby": f"{TUNE} adapter=houlsby adapter_rank=2 base_weights=int8",
    "tune prefix": f"{TUNE} adapter=prefix adapter_tokens=3 truncate=right",
    "control mpc": CONTROL_MPC,
    "control dreamer": CONTROL_DREAMER,
    "control prioritised_sweeping": CONTROL_SWEEPING,
    "control psrl": CONTROL_PSRL,
    "imagine vae": IMAGINE,
    "imagine gan": IMAGINE_GAN,
    "imagine chow_liu": IMAGINE_COUNTED,
    "imagine made": IMAGINE_MADE,
    "imagine diffusion": DIFFUSION,
    "imagine vq": IMAGINE_VQ,
    "imagine text_vae": f"{SENTENCES} model=text_vae twin=true cycles=2 anneal_steps=8",
    "imagine text_diffusion": f"{SENTENCES} model=text_diffusion sampling_steps=3",
    "solve cfr_plus": "solve leduc steps=40",
    "solve mccfr": "solve kuhn algorithm=mccfr steps=40",
    "minds particles": "minds food-trucks inference=particles particles=50",
    "minds amortised": (
        "minds food-trucks inference=amortised updates=8 walks_per_update=4 width=8 "
        "held_out_walks=4"
    ),
    "query": "query digits methods=bald seeds=2 rounds=3 draws=3",
    "minds rewards": "minds meadow steps=40",
    "align search": (
        "align base={tune} task={letters} algorithm=search steps=4 prompts_per_step=4 "
        "simulations=6 max_new_tokens=8 evaluate_every=2 evaluation_prompts=8 precision=fp32 "
        "compile=no"
    ),
    "selfplay alphazero": SELFPLAY,
    "selfplay muzero": f"{SELFPLAY} algorithm=muzero unroll=3",
    "align prompt": f"{REINFORCE} adapter=prompt adapter_tokens=3 adapter_text=abc",
}


def environment() -> dict[str, str]:
    """One thread a process, since several run at a time; a line of fixed width; the package that is
    being tested.
    """
    source = str(Path(__file__).resolve().parents[2] / "src")
    return os.environ | {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "COLUMNS": "100",
        "PYTHONPATH": source,
    }


@dataclass(frozen=True)
class Models:
    """A folder with everything that the fixture `models` makes."""

    folder: Path

    def fill(self, command: str) -> list[str]:
        """The words of a command, with {tune}, {text} and so on replaced by what they stand for."""
        files = {
            "text": "text.txt",
            "rows": "rows.jsonl",
            "pairs": "pairs.jsonl",
            "letters": "letters.py",
            "points": "points.csv",
            "walks": "walks.csv",
        }
        places = {name: str(self.folder / file) for name, file in files.items()}
        places |= {"models": str(self.folder)} | {
            name: str(self.folder / name) for name in ("pretrain", "tune", "reward")
        }
        return [word.format(**places) for word in command.split()]


@dataclass(frozen=True)
class Done:
    """How a command ended: `code` is minus the signal where one killed it."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def complaint(self) -> str:
        """The one sentence of a command that the user got wrong: exit code 2, one line, nothing
        else.
        """
        return self._sentence(2)

    @property
    def diverged(self) -> str:
        """The one sentence of a training that came to no number: exit code 1."""
        return self._sentence(1)

    def _sentence(self, code: int) -> str:
        assert self.code == code, (self.code, self.stdout, self.stderr)
        lines = self.stderr.splitlines()
        assert len(lines) == 1, self.stderr
        assert lines[0].startswith("fledge: "), self.stderr
        assert "Traceback" not in self.stdout
        return lines[0].removeprefix("fledge: ")

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object of a command that was given --json."""
        assert self.code == 0, self.stderr
        assert self.stdout.count("\n") == 1, self.stdout
        answer = json.loads(self.stdout)
        assert isinstance(answer, dict)
        return answer


class Cli:
    """Runs command lines in children of one process that has imported fledge: see
    fork_server.py.
    """

    def __enter__(self) -> Cli:
        self._scratch = tempfile.TemporaryDirectory()
        self._server = subprocess.Popen(
            [sys.executable, SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        self._scratch.cleanup()

    def __call__(
        self,
        words: str | Sequence[str],
        *,
        folder: Path,
        stdin: str | None = None,
        signal: int = 0,
        after_s: float = 0.0,
        once: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> Done:
        """`fledge WORDS` in `folder`. `signal` is sent `after_s` seconds after the start, or after
        the file `once` has something in it.
        """
        files = {name: Path(self._scratch.name, name) for name in ("stdin", "stdout", "stderr")}
        files["stdin"].write_bytes((stdin or "").encode("utf-8", "surrogateescape"))
        request = {
            "words": words.split() if isinstance(words, str) else list(words),
            "folder": str(folder),
            "signal": int(signal),
            "after_s": after_s,
            "once": once and str(once),
            "environment": environment or {},
        }
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(
            json.dumps(request | {name: str(file) for name, file in files.items()}) + "\n"
        )
        self._server.stdin.flush()
        answer = json.loads(self._server.stdout.readline())
        printed = {name: files[name].read_text(encoding="utf-8") for name in ("stdout", "stderr")}
        return Done(answer["code"], printed["stdout"], printed["stderr"], answer["seconds"])


def process(*words: str, folder: Path, module: Sequence[str] = ("-m", "fledge")) -> Done:
    """`python -m fledge WORDS` as a process of its own, from the interpreter's first line on."""
    ran = subprocess.run(
        [sys.executable, *module, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    return Done(ran.returncode, ran.stdout, ran.stderr, 0.0)


def outcome(run: Path) -> dict[str, str]:
    """The hashes of what a run must end with, however often it was stopped."""
    names = (
        "model/model.safetensors",
        "model/adapter_model.safetensors",
        "best/model.safetensors",
        "best/agent.json",
        "metrics.jsonl",
        "samples.jsonl",
        "samples.png",
    )
    return {
        name: hashlib.sha256((run / name).read_bytes()).hexdigest()
        for name in names
        if (run / name).exists()
    }
