"""Small files of questions, in the forms that the suites are published in."""

from __future__ import annotations

from typing import Any

LETTERS = ["A", "B", "C"]
# Of each suite its published forms, each with the same first question.
FORMS: dict[str, list[dict[str, Any]]] = {
    "arc_easy": [
        {"id": "1", "question": "What is wet?", "answerKey": "B",
         "choices": {"text": ["fire", "water", "sand"], "label": LETTERS}},
        {"id": "1", "answerKey": "2", "question": {"stem": "What is wet?", "choices": [
            {"text": "fire", "label": "1"}, {"text": "water", "label": "2"},
            {"text": "sand", "label": "3"}]}},
        {"task": "ARC-Easy", "split": "test", "question": "What is wet?",
         "choices": ["fire", "water", "sand"], "label": 1},
    ],
    "openbookqa": [
        {"question_stem": "What is wet?", "answerKey": "B",
         "choices": {"text": ["fire", "water", "sand"], "label": LETTERS}},
        {"answerKey": "B", "question": {"stem": "What is wet?", "choices": [
            {"text": "fire", "label": "A"}, {"text": "water", "label": "B"},
            {"text": "sand", "label": "C"}]}},
        {"task": "openbookqa", "question": "What is wet?",
         "choices": ["fire", "water", "sand"], "label": 1},
    ],
    "piqa": [
        {"goal": "Dry a cup", "sol1": "sink it", "sol2": "wipe it", "label": 1},
        {"task": "piqa", "question": "Dry a cup", "choices": ["sink it", "wipe it"], "label": 1},
    ],
    "boolq": [
        {"question": "is water wet", "passage": "Water is wet.", "answer": True},
        {"question": "is water wet", "passage": "Water is wet.", "label": 1, "idx": 0},
        {"task": "boolq", "question": "is water wet?", "passage": "Water is wet.",
         "choices": ["false", "true"], "label": 1},
    ],
    "winogrande": [
        {"sentence": "The cup hit the plate so _ broke.", "option1": "the cup",
         "option2": "the plate", "answer": "2"},
        {"task": "winogrande", "question": "The cup hit the plate so _ broke.",
         "choices": ["the cup", "the plate"], "label": 1},
    ],
    "mmlu": [
        {"question": "What is wet?", "subject": "", "choices": ["fire", "water", "sand", "air"],
         "answer": 1},
        {"question": "What is wet?", "A": "fire", "B": "water", "C": "sand", "D": "air",
         "answer": "B"},
    ],
}  # fmt: skip
# Suite, its first question as lm-evaluation-harness 0.4.13 asks it: contexts, continuations, right.
ASKED: dict[str, tuple[list[str], list[str], int]] = {
    "arc_easy": (["Question: What is wet?\nAnswer:"] * 3, [" fire", " water", " sand"], 1),
    "openbookqa": (["What is wet?"] * 3, [" fire", " water", " sand"], 1),
    "piqa": (["Question: Dry a cup\nAnswer:"] * 2, [" sink it", " wipe it"], 1),
    "boolq": (["Water is wet.\nQuestion: is water wet?\nAnswer:"] * 2, [" no", " yes"], 1),
    "winogrande": (
        ["The cup hit the plate so the cup", "The cup hit the plate so the plate"],
        [" broke."] * 2, 1,
    ),
    "mmlu": (
        ["What is wet?\nA. fire\nB. water\nC. sand\nD. air\nAnswer:"] * 4,
        [" A", " B", " C", " D"], 1,
    ),
}  # fmt: skip
