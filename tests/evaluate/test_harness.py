"""Three doors, one number: `fledge evaluate`, a model of ours in lm-evaluation-harness, and the
harness at our server. Of its package: skipped where it is not installed.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.serve.models import TEXT, make_model
from tests.serve.process import start_server

lm_eval = pytest.importorskip("lm_eval")

from lm_eval.tasks import TaskManager  # noqa: E402  # pyright: ignore[reportMissingImports]

from fledge.evaluate.harness import FledgeModel  # noqa: E402
from fledge.evaluate.suites.answering import answer  # noqa: E402
from fledge.evaluate.suites.choosing import choose  # noqa: E402
from fledge.evaluate.suites.suite import open_suite  # noqa: E402
from fledge.hub.folder import load_model  # noqa: E402
from fledge.log_prob import Decoding  # noqa: E402

TASK = r"""task: doors
dataset_path: json
dataset_kwargs:
  data_files:
    test: FILE
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{choices.label.index(answerKey)}}"
doc_to_choice: "{{choices.text}}"
metric_list:
  - metric: acc
  - metric: acc_norm
"""
SAYING = r"""task: saying
dataset_path: json
dataset_kwargs:
  data_files:
    test: FILE
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["Question:"], do_sample: false, temperature: 0.0, max_gen_toks: 12}
metric_list:
  - metric: exact_match
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("doors")
    make_model(place / "one", seed=2)
    words = TEXT.split()[:15]
    rows = [
        {"question": f"{a} {b}?", "answerKey": "AB"[i % 2], "answer": "x",
         "choices": {"text": [a, f"{b} and {a}"], "label": ["A", "B"]}}
        for i, (a, b) in enumerate(pairwise(words))
    ]  # fmt: skip
    (place / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, task in (("doors", TASK), ("saying", SAYING)):
        (place / f"{name}.yaml").write_text(task.replace("FILE", str(place / "rows.jsonl")))
    return place


def evaluate(folder: Path, task: str, model: Any, **more: Any) -> list[dict[str, Any]]:
    told = lm_eval.simple_evaluate(
        model=model, tasks=[task], task_manager=TaskManager(include_path=str(folder)),
        log_samples=True, bootstrap_iters=0, **more,
    )  # fmt: skip
    assert told is not None
    return sorted(told["samples"][task], key=lambda row: row["doc_id"])


def list_nats(rows: list[dict[str, Any]]) -> list[list[float]]:
    return [[float(one[0][0]) for one in row["resps"]] for row in rows]


def test_choices_have_one_number_at_three_doors(folder: Path) -> None:
    model = load_model(folder / "one")
    asked = open_suite("arc_easy", folder / "rows.jsonl")
    chosen = choose(model.policy(), model.tokenizer, asked.questions, asked.before)
    adapted = evaluate(folder, "doors", FledgeModel(folder / "one"))
    with start_server(folder / "one", slots=4) as server:
        arguments = (
            f"model=one,base_url={server.url}/v1/completions,tokenizer={folder}/one,"
            "add_bos_token=True,num_concurrent=1,max_length=1024,tokenized_requests=True"
        )
        served = evaluate(folder, "doors", "local-completions", model_args=arguments)
    for door in (adapted, served):
        for ours, theirs in zip(chosen, list_nats(door), strict=True):
            assert theirs == pytest.approx(ours.nats, abs=1e-3)
        for rule, name in (("raw", "acc"), ("byte", "acc_norm")):
            right = [
                float(one.answer(rule) == question.right)
                for one, question in zip(chosen, asked.questions, strict=True)
            ]
            assert [row[name] for row in door] == right


def test_answers_are_the_same_in_a_conversation(folder: Path) -> None:
    model = load_model(folder / "one")
    asked = open_suite("prompts", folder / "rows.jsonl", questions=5)
    said = answer(
        model.policy(), model.tokenizer, asked.questions, asked.before, max_new_tokens=12,
        rule=Decoding(0), chat=True,
    )  # fmt: skip
    ours = [one[0].text for one in said]
    adapted = evaluate(
        folder, "saying", FledgeModel(folder / "one"), apply_chat_template=True, limit=5
    )
    assert [row["resps"][0][0] for row in adapted] == ours
    with start_server(folder / "one", slots=4) as server:
        arguments = f"model=one,base_url={server.url}/v1/chat/completions,num_concurrent=1"
        served = evaluate(
            folder, "saying", "local-chat-completions", model_args=arguments, limit=5,
            apply_chat_template=True,
        )  # fmt: skip
    assert [row["resps"][0][0] for row in served] == ours


def test_a_whole_text_is_measured_in_windows(folder: Path) -> None:
    """Each token once: the nats of a text of one window are those of its one row."""
    model = FledgeModel(folder / "one")

    class Asked:
        args = (TEXT[:300],)

    import torch

    row = [*model.tokenizer.opening, *model.tokenizer.encode(TEXT[:300])]
    whole = torch.tensor([row])
    with torch.no_grad():
        nats = float(model.policy.log_prob(whole, whole[:, 1:]).sum())
    assert model.loglikelihood_rolling([Asked()]) == [pytest.approx(nats, rel=1e-5)]
