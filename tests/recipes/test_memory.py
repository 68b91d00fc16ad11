"""What is said of a run's memory before it begins is what the process then takes at most."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fledge.errors import UserError
from fledge.hub.folder import load_model, save_model
from fledge.models.language.transformer import Transformer, TransformerConfig
from fledge.recipes.activations import measure_activations
from fledge.recipes.memory import Memory, check_fits, size_engine
from fledge.sample.conversing import GrowingEngine
from fledge.tasks.named import load_task
from fledge.text.tokenizer import train_tokenizer
from fledge.trajectories import from_rows
from tests.cli.commands import environment
from tests.subjects import learner, policy_of, transformer

# The peak of this program alone: what a process is said to have used begins at its parent's.
CHILD = """
import sys
from pathlib import Path
from fledge.cli.main import main
try:
    main(sys.argv[1:])
finally:
    status = Path("/proc/self/status").read_text()
    print("PEAK", next(l for l in status.splitlines() if l.startswith("VmHWM")).split()[1])
"""
WORDS = "the fox and the dog look at the moon over the hill and say good night "


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of 31 million parameters, and rows of some 250 tokens."""
    place = tmp_path_factory.mktemp("memory")
    tokenizer = train_tokenizer("bytes", [])
    sizes = TransformerConfig(
        tokenizer.vocab_size, context=512, layers=10, width=512, heads=8, kv_heads=4, mlp_width=1536
    )
    save_model(place / "base", Transformer(sizes, border=tokenizer.border), tokenizer)
    rows = [{"prompt": f"{i} {WORDS}", "completion": WORDS * 2 + str(i)} for i in range(40)]
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = [{"prompt": f"{i} fox?", "chosen": WORDS * 3, "rejected": WORDS * 2} for i in range(40)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return place


def run(words: str, folder: Path) -> tuple[float, float, str]:
    """(GB that were foretold, GB that were taken, all that was said)."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *words.split()],
        cwd=folder, capture_output=True, text=True, env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    foretold = re.search(r"about ([\d.]+) of [\d.,]+ GB of memory", done.stdout)
    peak = re.search(r"PEAK (\d+)", done.stdout)
    assert foretold is not None, done.stdout
    assert peak is not None
    return float(foretold[1]), int(peak[1]) * 1024 / 1e9, done.stdout


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own count")
@pytest.mark.parametrize(
    "words",
    [
        "tune base=base data=rows.jsonl rows_per_step=8",
        "tune base=base data=rows.jsonl rows_per_step=8 adapter=none",
        "tune base=base data=rows.jsonl rows_per_step=8 base_weights=nf4 rows_per_micro_batch=1",
        "prefer base=base data=pairs.jsonl pairs_per_step=8",
        "reward base=base data=pairs.jsonl pairs_per_step=4",
    ],
)
def test_the_peak_is_within_a_third_of_what_was_foretold(
    words: str, base: Path, tmp_path: Path
) -> None:
    foretold, peak, said = run(
        f"{words} steps=1 precision=fp32 compile=no out={tmp_path}/run", base
    )
    assert foretold == pytest.approx(peak, rel=0.3), said


@pytest.fixture(scope="module")
def questions(base: Path) -> Path:
    """Questions of 90 tokens, in words and with choices."""
    chosen = [
        {"question": f"{i} {WORDS}", "choices": ["fox", "dog"], "label": 0} for i in range(80)
    ]
    said = [{"question": f"{i} {WORDS}", "answer": "#### 3"} for i in range(80)]
    for name, rows in (("arc", chosen), ("gsm8k", said)):
        (base / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return base


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own count")
@pytest.mark.parametrize("shots", [0, 4])
@pytest.mark.parametrize("suite", ["arc_easy data=arc.jsonl", "gsm8k data=gsm8k.jsonl"])
def test_so_is_that_of_published_questions(suite: str, shots: int, questions: Path) -> None:
    few = " max_new_tokens=8" if "gsm8k" in suite else ""
    foretold, peak, said = run(f"evaluate base=base suite={suite} shots={shots}{few}", questions)
    assert foretold == pytest.approx(peak, rel=0.3), said


def test_the_rows_that_a_conversation_keeps_are_counted(tmp_path: Path) -> None:
    """The cache of the engine that answers the last of eight turns is what was foretold of it, but
    for the blocks and the 2 or 4 bytes of a number that a processor is given.
    """
    tokenizer, task = train_tokenizer("bytes", []), load_task("household:1")
    sizes = TransformerConfig(
        tokenizer.vocab_size, context=2048, layers=2, width=32, heads=2, kv_heads=2, mlp_width=64
    )
    save_model(tmp_path / "base", Transformer(sizes, border=tokenizer.border), tokenizer)
    base = load_model(tmp_path / "base")
    longest, new, rows = 200, 16, 5
    foretold = size_engine(task, base, rows, longest, new).count_bytes(sizes) - 4 * sizes.parameters
    answers = GrowingEngine(base.policy(), rows, new)
    engine = answers([[3] * (longest + 7 * new)] * rows)
    assert 0.45 * foretold <= engine.cache_bytes <= 1.2 * foretold


GIGA = 10**9


def make(**sizes: int) -> Memory:
    parts = dict.fromkeys(
        ("weights", "learning", "activations", "logits", "sampling", "program", "saving"), 0
    )
    return Memory(**parts | sizes, tokens=2048)


def test_what_cannot_fit_is_refused_and_what_may_not_is_said() -> None:
    whole = 8 * GIGA
    assert check_fits(make(weights=2 * GIGA, activations=3 * GIGA), whole, ["a=1"]) is None
    said = check_fits(make(weights=2 * GIGA, activations=7 * GIGA), whole, ["a=1", "b=2"])
    assert said is not None
    assert said.endswith("to take less, change a=1, or b=2.")
    with pytest.raises(UserError, match=r"take 9\.0 GB and the machine has 8\.0: change a=1\."):
        check_fits(make(weights=3 * GIGA, learning=6 * GIGA), whole, ["a=1"])


def test_a_step_and_who_samples_take_turns() -> None:
    memory = make(weights=1, learning=2, activations=30, logits=10, sampling=50, program=100)
    assert memory.most == 1 + 2 + 50 + 100
    assert make(weights=1, learning=2, activations=60, logits=10, sampling=50).most == 1 + 2 + 70
    assert make(weights=1, activations=60, sampling=50, saving=7).most == 1 + 60 + 7


@pytest.mark.parametrize("length", [40, 256, 257, 300])
def test_activations_are_measured_on_a_row_of_any_length(length: int) -> None:
    """What a token keeps does not grow with its row."""
    policy = policy_of(transformer(context=512, layers=1), chunk=16)
    rows = from_rows([[3] * length], [[True] * length])
    kept = measure_activations(policy, learner(policy), rows)
    steady = measure_activations(policy, learner(policy), from_rows([[3] * 200], [[True] * 200]))
    assert kept == pytest.approx(steady, rel=0.35)  # a chunk of logits is shared by fewer
