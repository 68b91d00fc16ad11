"""`fledge prefer` and `fledge distill` through the real command line: every algorithm and kind, and
what a user gets wrong.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.cli.commands import DISTILL, PREFER, PRETRAIN, REWARD, Cli, Models, outcome
from tests.subjects import seeded

from fledge.evaluate.preferences import measure_share_ahead

ALGORITHMS = ("dpo", "ipo", "simpo", "orpo", "kto")
KINDS = ("sequence", "forward", "reverse", "jsd on_policy=1")
ON_TASK = "task={letters} pairs=32 samples_per_prompt=3 max_new_tokens=8 evaluation_prompts=8"


@pytest.mark.parametrize("where", ["data={pairs}", ON_TASK])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_prefer_learns_from_pairs(
    algorithm: str, where: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command = PREFER.replace("data={pairs}", where)
    words = models.fill(
        f"{command} algorithm={algorithm} learning_rate=3e-3 steps=16 out=run --json"
    )
    summary = cli(words, folder=tmp_path).result
    assert summary["algorithm"] == algorithm
    assert summary["after"]["validation_reward_gap"] > summary["before"]["validation_reward_gap"]
    figures = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    steps = [row for row in figures if "loss" in row]
    assert len(steps) == 16
    assert {"reward_gap", "preferred_logp", "rejected_logp"} <= set(steps[0])
    assert ("reference_point" if algorithm == "kto" else "pair_accuracy") in steps[0]
    if where == ON_TASK:
        assert {"exact_match", "true_score", "kl"} <= set(summary["after"])
        assert summary["before"]["kl"] == pytest.approx(0, abs=1e-4)
    lineage = json.loads((tmp_path / "run" / "lineage.json").read_text())
    assert [Path(parent["path"]).name for parent in lineage["parents"]] == ["tune"]
    assert Path(lineage["data"][0]["path"]).name == (
        "letters.py" if where == ON_TASK else "pairs.jsonl"
    )
    assert cli("sample run max_new_tokens=4 --json", folder=tmp_path).result["completions"]
    assert cli("report run --json", folder=tmp_path).result["bytes"] > 10_000
    assert [row["run"] for row in cli("runs . --json", folder=tmp_path).result["runs"]] == ["run"]


@pytest.mark.parametrize("command", [REWARD, f"{PREFER} algorithm=ipo"])
def test_pairs_as_openai_writes_them_are_the_same_pairs(
    command: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (models.folder / "pairs.jsonl").read_text().splitlines()]
    with (tmp_path / "openai.jsonl").open("w") as file:
        for row in rows:
            turns = {
                name: [{"role": role, "content": row[key]}]
                for name, role, key in (
                    ("messages", "user", "prompt"),
                    ("preferred_output", "assistant", "chosen"),
                    ("non_preferred_output", "assistant", "rejected"),
                )
            }
            asked = {"messages": turns.pop("messages"), "tools": [], "parallel_tool_calls": True}
            file.write(json.dumps({"input": asked, **turns}) + "\n")
    assert cli([*models.fill(command), "out=one"], folder=tmp_path).code == 0
    words = models.fill(command.replace("{pairs}", "openai.jsonl"))
    assert cli([*words, "out=other"], folder=tmp_path).code == 0
    assert outcome(tmp_path / "one") == outcome(tmp_path / "other")


@pytest.mark.parametrize("algorithm", ["dpo", "kto"])
def test_prefer_on_a_task_that_is_stopped_and_resumed_ends_with_the_same_bits(
    algorithm: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(
        f"{PREFER.replace('data={pairs}', ON_TASK)} algorithm={algorithm} evaluate_every=3"
    )
    assert cli([*words, "out=whole"], folder=tmp_path).code == 0
    stopped = cli(
        [*words, "out=run"], folder=tmp_path, signal=15, once=tmp_path / "run" / "metrics.jsonl"
    )
    assert stopped.code == 128 + 15, stopped.stderr
    assert cli("resume run", folder=tmp_path).code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


# --- single answers, each with a label: of kto only ---

THUMBS = PREFER.replace("data={pairs}", "data=thumbs.jsonl")


def write_thumbs(folder: Path, models: Models, *changes: tuple[int, dict[str, object]]) -> None:
    """The sides of the fixture's pairs one by one, a prompt having either or both; changes: keys of
    a line (from 1), None removes.
    """
    rows: list[dict[str, object]] = []
    for number, line in enumerate((models.folder / "pairs.jsonl").read_text().splitlines()):
        pair = json.loads(line)
        for side in ("chosen", "rejected")[number % 3 == 1 : 2 - (number % 3 == 2)]:
            rows.append(
                {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
            )
    for line, change in changes:
        merged = rows[line - 1] | change
        rows[line - 1] = {name: value for name, value in merged.items() if value is not None}
    (folder / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_kto_learns_from_single_answers_and_is_resumed_to_the_same_bits(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    write_thumbs(tmp_path, models)
    words = models.fill(f"{THUMBS} algorithm=kto learning_rate=3e-3 steps=16")
    summary = cli([*words, "out=whole", "--json"], folder=tmp_path).result
    held_out = summary["held_out"]
    assert summary["answers"] + held_out["validation"] + held_out["test"] == 80
    assert min(held_out.values()) >= 2  # one of each label
    before, after = summary["before"], summary["after"]
    assert before["validation_reward_gap"] == pytest.approx(0, abs=1e-4)  # π is π_ref
    assert after["validation_reward_gap"] > 0.01
    assert after["validation_pair_accuracy"] > 0.9
    rows = [
        json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]
    first, *_, last = [row for row in rows if "loss" in row]
    # 8 pairs a step are 16 answers
    assert last["epoch"] == pytest.approx(16 * 16 / summary["answers"])
    gap = [row["preferred_logp"] - row["rejected_logp"] for row in (first, last)]
    assert gap[1] > gap[0]
    lineage = json.loads((tmp_path / "whole" / "lineage.json").read_text())
    assert [Path(file["path"]).name for file in lineage["data"]] == ["thumbs.jsonl"]
    stopped = cli(
        [*words, "out=run"], folder=tmp_path, signal=15, once=tmp_path / "run" / "metrics.jsonl"
    )
    assert stopped.code == 128 + 15, stopped.stderr
    assert cli("resume run", folder=tmp_path).code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    assert cli("report run --json", folder=tmp_path).result["bytes"] > 10_000


def test_both_labels_are_held_out_however_the_file_is_ordered(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    """Every tenth line of a file that alternates has the same label."""
    rows = [
        {"prompt": f"say {i}", "completion": "yes" if i % 2 else "??", "label": i % 2 == 1}
        for i in range(40)
    ]
    (tmp_path / "thumbs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    summary = cli(models.fill(f"{THUMBS} algorithm=kto steps=1 --json"), folder=tmp_path).result
    assert summary["answers"] <= 36
    assert 0 <= summary["after"]["validation_pair_accuracy"] <= 1
    assert 0 <= summary["test"]["pair_accuracy"] <= 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([(7, {"label": None})], "line 7 of thumbs.jsonl has no `label`: a single answer has"),
        ([(1, {"label": None})], "line 1 of thumbs.jsonl has no `label`: a single answer has"),
        ([(7, {"completion": None})], "line 7 of thumbs.jsonl has no `completion`"),
        ([(7, {"prompt": None})], "line 7 of thumbs.jsonl has no `prompt`"),
        (
            [(7, {"label": 2})],
            "the `label` of line 7 of thumbs.jsonl is 2: write true (wanted) or false",
        ),
        ([(7, {"label": "yes"})], 'the `label` of line 7 of thumbs.jsonl is "yes": write true'),
        ([(7, {"prompt": 3})], "the `prompt` of line 7 of thumbs.jsonl is not a string"),
        (
            [(7, {"chosen": "a", "rejected": "b"})],
            "line 7 of thumbs.jsonl has `chosen`, as in a pair",
        ),
        (
            [(1, {"chosen": "a", "rejected": "b", "completion": None, "label": None})],
            "line 2 of thumbs.jsonl has no `chosen`, it is a single answer",
        ),
        (
            [(i, {"label": True}) for i in range(1, 81)],
            "all answers of thumbs.jsonl have the label true: give wanted",
        ),
        (
            [(i, {"label": i < 4}) for i in range(1, 81)],
            "has 3 wanted and 77 unwanted answers that fit a context of 64",
        ),
    ],
)
def test_what_is_wrong_with_single_answers_is_one_sentence(
    changes: list[tuple[int, dict[str, object]]],
    said: str,
    cli: Cli,
    models: Models,
    tmp_path: Path,
) -> None:
    write_thumbs(tmp_path, models, *changes)
    assert said in cli(models.fill(f"{THUMBS} algorithm=kto"), folder=tmp_path).complaint
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "command", [f"{THUMBS} algorithm={name}" for name in ALGORITHMS if name != "kto"] + [REWARD]
)
def test_what_learns_from_pairs_says_who_reads_single_answers(
    command: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    write_thumbs(tmp_path, models)
    said = cli(models.fill(command.replace("{pairs}", "thumbs.jsonl")), folder=tmp_path).complaint
    assert "line 1 of thumbs.jsonl has no `chosen`, it is a single answer" in said
    assert "only `fledge prefer algorithm=kto` reads these" in said


def test_the_share_that_is_ahead_is_counted_over_all_pairs() -> None:
    high = torch.randint(0, 9, (40,), generator=seeded(1)).float()
    low = torch.randint(-2, 7, (30,), generator=seeded(2)).float()
    one_by_one = [
        1.0 if above > below else 0.5 if above == below else 0.0
        for above in high.tolist()
        for below in low.tolist()
    ]
    assert measure_share_ahead(high, low) == pytest.approx(sum(one_by_one) / 1200)
    assert (measure_share_ahead(low + 20, high), measure_share_ahead(low, low)) == (
        1.0,
        pytest.approx(0.5),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_distill_brings_a_fresh_student_nearer_on_a_task(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    command = DISTILL.replace("jsd on_policy=0.5", kind)
    summary = cli(
        models.fill(f"{command} learning_rate=1e-2 steps=30 out=run --json"), folder=tmp_path
    ).result
    assert summary["after"]["teacher_kl"] < 0.8 * summary["before"]["teacher_kl"]
    assert {"exact_match", "true_score"} == set(summary["teacher"])
    figures = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    [who] = {
        name.partition("_")[0] for row in figures for name in row if name.endswith("_stop_rate")
    }
    assert who == ("student" if "on_policy" in kind else "teacher")
    lineage = json.loads((tmp_path / "run" / "lineage.json").read_text())
    assert [Path(parent["path"]).name for parent in lineage["parents"]] == ["tune"]
    assert cli("sample run max_new_tokens=4 --json", folder=tmp_path).result["completions"]


@pytest.mark.parametrize("data", ["{rows}", "{text}"])
@pytest.mark.parametrize("kind", ["forward", "reverse", "jsd"])
def test_distill_on_conversations_and_on_text_is_resumed_to_the_same_bits(
    kind: str, data: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(
        f"distill teacher={{tune}} student={{pretrain}} data={data} kind={kind} steps=12 "
        "rows_per_step=8 evaluate_every=4 evaluation_rows=8 precision=fp32 compile=no"
    )
    summary = cli([*words, "out=whole", "--json"], folder=tmp_path).result
    assert summary["after"]["teacher_kl"] < summary["before"]["teacher_kl"]
    assert ("validation_bits_per_byte" in summary["after"]) == (data == "{text}")
    lineage = json.loads((tmp_path / "whole" / "lineage.json").read_text())
    assert [Path(parent["path"]).name for parent in lineage["parents"]] == ["pretrain", "tune"]
    stopped = cli(
        [*words, "out=run"], folder=tmp_path, signal=15, once=tmp_path / "run" / "metrics.jsonl"
    )
    assert stopped.code == 128 + 15, stopped.stderr
    assert cli("resume run", folder=tmp_path).code == 0
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("prefer base={tune}", "prefer needs either data=FILE.jsonl or task=NAME"),
        (
            "prefer base={tune} data={pairs} algorithm=dqo",
            "no algorithm dqo: perhaps you meant dpo",
        ),
        ("prefer base={tune} data={pairs} beta=0", "beta=0 cannot be"),
        (
            "prefer base={tune} data={pairs} margin=0.5",
            "margin is a setting of algorithm=simpo: dpo has none",
        ),
        (
            "prefer base={tune} data={pairs} algorithm=ipo desirable_weight=2",
            "is a setting of algorithm=kto",
        ),
        ("prefer base=nowhere data={pairs}", "nowhere does not exist"),
        ("prefer base={reward} data={pairs}", "is a reward model"),
        ("distill teacher={tune}", "distill needs either data=FILE or task=NAME"),
        ("distill data={text}", "`fledge distill` needs teacher=…"),
        ("distill teacher=nowhere data={text}", "nowhere does not exist"),
        (
            "distill teacher={tune} data={rows} kind=sequence",
            "kind=sequence needs prompts to answer",
        ),
        ("distill teacher={tune} data={rows} on_policy=0.5", "on_policy needs prompts to answer"),
        (
            "distill teacher={tune} task={letters} kind=sequence on_policy=0.5",
            "the teacher's own answers",
        ),
        ("distill teacher={tune} student={pretrain} data={rows} layers=2", "leave out layers"),
        (
            "distill teacher={tune} task={letters} context=32",
            "the student's context is 32 tokens and the teacher's 64",
        ),
        ("distill teacher={tune} data={rows} width=17", "cannot be divided among heads"),
        ("distill teacher={tune} task=revers", "perhaps you meant reverse"),
    ],
)
def test_what_a_user_gets_wrong_is_one_sentence_and_leaves_no_run(
    command: str, said: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    assert said in cli(models.fill(command), folder=tmp_path).complaint
    assert not (tmp_path / "runs").exists()


def test_a_student_of_another_tokenizer_is_refused(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli(models.fill(f"{PRETRAIN} tokenizer=bpe vocab_size=300 out=other"), folder=tmp_path)
    assert done.code == 0, done.stderr
    said = cli(
        models.fill("distill teacher={tune} student=other data={rows}"), folder=tmp_path
    ).complaint
    assert "the student other has another tokenizer than" in said


def test_pairs_that_do_not_fit_the_context_are_counted(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    row = {"prompt": "p" * 90, "chosen": "yes", "rejected": "no"}
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(row) + "\n" for _ in range(9)))
    said = cli(models.fill("prefer base={tune} data=long.jsonl"), folder=tmp_path).complaint
    assert (
        "none of the 9 pairs of long.jsonl can be used (longer than the context of 64 tokens: 9, "
        "lines 1, 2, 3, …)"
    ) in said


def test_a_task_without_answers_can_be_distilled(cli: Cli, models: Models, tmp_path: Path) -> None:
    """Only the prompts are needed: what is right the teacher says, or the judge."""
    (tmp_path / "mine.py").write_text(
        "def prompts():\n    return ['tell ' + a + b for a in 'abcdef' for b in 'uvwxyz']\n"
        "def score(prompt, completion):\n    return float('a' in completion)\n"
    )
    command = DISTILL.replace("{letters}", "mine.py").replace(
        "jsd on_policy=0.5", "sequence teacher_temperature=0"
    )
    assert cli([*models.fill(command), "--json"], folder=tmp_path).result["steps"] == 8
