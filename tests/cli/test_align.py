"""Every algorithm of `fledge align` by its name, and one of the user's own by its path, through the
real command line.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.commands import ALIGN, Cli, Models, outcome

ROOT = Path(__file__).resolve().parents[2]
NAMES = (
    "reinforce", "rloo", "grpo", "dr_grpo", "dapo", "gspo", "cispo", "off_policy",
    "control_variate", "rwr", "awr", "em", "rest_em", "best_of_n", "online_dpo", "ppo",
)  # fmt: skip
WATCHED = ("reward", "kl_k1", "drift", "stop_rate", "learning_rate", "grad_norm")


@pytest.mark.parametrize("name", NAMES)
def test_an_algorithm_aligns_and_reports_what_is_watched(
    name: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli([*models.fill(ALIGN), f"algorithm={name}", "out=run", "--json"], folder=tmp_path)
    assert done.result["steps"] == 5
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    updates = [row for row in rows if "reward" in row]
    assert len(updates) == 5
    missing = [figure for figure in WATCHED if figure not in updates[-1]]
    assert not missing
    # the first samples are the base's own
    assert updates[0]["kl_k1"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("kind", ["lora", "houlsby", "prefix", "prompt"])
def test_the_reference_is_where_an_adapter_starts(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill(ALIGN), f"adapter={kind}"]
    if kind in ("prefix", "prompt"):
        words.append("adapter_tokens=4")
    cli([*words, "learning_rate=0.1", "warmup_steps=0", "out=run", "--json"], folder=tmp_path)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "reward" in row]
    assert rows[0]["kl_k1"] == pytest.approx(0.0, abs=1e-5)
    assert max(row["drift"] for row in rows) < 1e-3  # the engine samples what the trainer scores
    # k3 is never below 0, so that no chance of the draws hides a policy that has moved: 2e-3 and
    # more with all of torch's instruction sets.
    assert rows[-1]["kl_k3"] > 1e-4
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("name", ["dpo", "ipo", "kto", "orpo", "simpo"])
def test_an_algorithm_of_pairs_makes_them_from_the_task(
    name: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(
        "align base={tune} task={letters} steps=3 pairs=32 max_new_tokens=8 precision=fp32 "
        "compile=no"
    )
    result = cli([*words, f"algorithm={name}", "out=run", "--json"], folder=tmp_path).result
    assert result["verb"] == "prefer"
    assert result["algorithm"] == name
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_what_is_given_to_an_algorithm_of_pairs_arrives_though_it_is_the_default_of_align(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(
        "align base={tune} task={letters} algorithm=dpo steps=1 pairs=32 max_new_tokens=8 "
        "precision=fp32 compile=no"
    )
    assert (
        cli([*words, "learning_rate=5e-4", "kl_coefficient=0.02", "out=run"], folder=tmp_path).code
        == 0
    )
    config = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (config["learning_rate"], config["beta"]) == (5e-4, 0.02)


def test_an_algorithm_of_the_users_own_aligns_by_its_path_and_resumes(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    own = f"algorithm={ROOT / 'examples' / 'good_baseline.py'}:GoodBaseline"
    words = [*models.fill(ALIGN), own, "save_every_s=0"]
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    cli([*words, "out=cut"], folder=tmp_path, signal=2, once=tmp_path / "cut" / "metrics.jsonl")
    assert cli("resume cut", folder=tmp_path).code == 0
    assert outcome(tmp_path / "cut") == outcome(tmp_path / "whole")


# A task that knows answers, with half the credit for whatever ends: the tiny model, which knows
# nothing, earns it now and then.
SPELLED = """
def prompts():
    return [{'prompt': 'say ' + a + b, 'answer': a + b} for a in 'abcdef' for b in 'uvwxyz']

def score(prompt, completion):
    if not completion or set(completion) <= set('?~'):
        return 0.0
    return (1 + (prompt == 'say ' + completion)) / 2
"""
SAMPLED = {
    "dapo redraws=2": {"drawn_groups"},
    "dapo": {"drawn_groups"},
    "star threshold=0.4 updates_per_step=2": {"hinted_groups", "hinted_kept"},
}


@pytest.mark.parametrize("words", SAMPLED)
def test_a_sampler_that_asks_again_is_killed_and_resumed_to_the_same_bits(
    words: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "spelled.py").write_text(SPELLED)
    command = [
        *models.fill(ALIGN.replace("{letters}", "spelled.py")),
        "samples_per_prompt=8",
        "save_every_s=0",
    ]
    command += [f"algorithm={words.split()[0]}", *words.split()[1:]]
    assert cli([*command, "out=whole"], folder=tmp_path).code == 0
    rows = [
        json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]
    updates = [row for row in rows if "reward" in row]
    assert all(SAMPLED[words] <= row.keys() for row in updates)
    assert all(row.get("drawn_groups", 8) <= 8 * 4 for row in updates)
    assert (
        sum(
            row["drawn_groups"] > 8 if "drawn_groups" in row else row["hinted_kept"] > 0
            for row in updates
        )
        > 0
    )
    killed = cli(
        [*command, "out=run"], folder=tmp_path, signal=9, once=tmp_path / "run" / "metrics.jsonl"
    )
    assert killed.code == -9, killed
    assert cli("resume run", folder=tmp_path).code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_dapo_without_redraws_asks_once_a_step(cli: Cli, models: Models, tmp_path: Path) -> None:
    words = [*models.fill(ALIGN), "algorithm=dapo", "redraws=0", "out=run"]
    assert cli(words, folder=tmp_path).code == 0
    assert "drawn_groups" not in (tmp_path / "run" / "metrics.jsonl").read_text()


def test_the_users_own_rloo_gives_the_weights_of_ours(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    """examples/good_baseline.py is REINFORCE with the leave-one-out baseline, written
    independently.
    """
    words = [*models.fill(ALIGN), "kl_coefficient=0.0"]
    own = f"algorithm={ROOT / 'examples' / 'good_baseline.py'}:GoodBaseline"
    for name, choice in (("own", own), ("ours", "algorithm=rloo")):
        assert cli([*words, choice, f"out={name}"], folder=tmp_path).code == 0
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("own", "ours")
    ]
    assert [row.get("reward") for row in rows[0]] == [row.get("reward") for row in rows[1]]
    for mine, theirs in zip(*rows, strict=True):
        assert mine.get("grad_norm", 0.0) == pytest.approx(theirs.get("grad_norm", 0.0), rel=1e-4)


WRONG = {
    "algorithm=gro": ["no algorithm gro", "perhaps you meant grpo"],
    "algorithm=none.py:Mine": ["there is no", "none.py"],
    "algorithm=mine.py:Other": ["no class Other", "it has Mine"],
    "algorithm=mine.py:Mine": ["mine.py line 3", "ZeroDivisionError"],
    "algorithm=listed.py:Mine": ["listed.py", "returned list", "a dict of figures"],
    "algorithm=grpo keep=best": ["keep is a setting of algorithm=em, rest_em", "grpo has none"],
    "algorithm=ppo redraws=0": ["redraws is a setting of algorithm=grpo", "ppo has none"],
    "algorithm=gspo gspo.redraws=-1": ["redraws=-1 cannot be"],
    "algorithm=gspo grpo.redraws=1": ["`grpo.redraws` is no field of `fledge align`"],
    "algorithm=dapo redraws=-1": ["redraws=-1 cannot be"],
    "algorithm=rloo hint={prompt}{answer}": [
        "hint is a setting of algorithm=em, rest_em, star",
        "rloo has none",
    ],
    "algorithm=star task=reverse hint={promt}({answer})": [
        "hint='{promt}({answer})' has no {prompt}",
        "such as",
    ],
    "algorithm=star": ["a hint tells the answer", "letters.py have none", "algorithm=rest_em"],
    "algorithm=reinforce ptx_coefficient=1.0": ["ptx_coefficient is a setting of algorithm=ppo"],
    "algorithm=grpo samples_per_prompt=1": ["samples_per_prompt=1", "give 2 or more"],
    "algorithm=off_policy top_k=5": [
        "top_k=5, top_p=1.0",
        "Give top_k=0, top_p=1 and min_p=0",
        "the temperature is free",
    ],
    "algorithm=off_policy top_p=0.9": ["top_k=0, top_p=0.9", "the base's answers"],
    "algorithm=grpo updates_per_step=5": ["updates_per_step=5", "equal parts"],
    "algorithm=dpo": ["prompts_per_step says nothing to algorithm=dpo", "fledge prefer --help"],
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_wrong_with_an_algorithm_is_one_sentence(
    words: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    raises = (
        "class Mine:\n    def __init__(self, policy, learner, stopwatch): pass\n    def "
        "update(self, batch): return 1 / 0\n"
    )
    (tmp_path / "mine.py").write_text(raises)
    (tmp_path / "listed.py").write_text(raises.replace("1 / 0", "[]"))
    said = cli([*models.fill(ALIGN), *words.split(), "out=run"], folder=tmp_path).complaint
    assert all(part in said for part in WRONG[words]), said
