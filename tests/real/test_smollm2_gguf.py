"""SmolLM2 out of fledge as a GGUF file in float32: llama.cpp reads it and says what our engine says
in float32, on 50 prompts of prose, code, numbers, other languages and chats.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fledge.hub.folder import Loaded
from fledge.hub.gguf_model import save_gguf
from fledge.text.chat import render
from tests.real.following import GREEDY_PROMPTS, follow
from tests.real.llama_server import LlamaServer

pytestmark = pytest.mark.real

TEXTS = (
    *GREEDY_PROMPTS,
    "The largest planet in the solar system is",
    "She opened the door and saw",
    "The recipe calls for two cups of",
    "In the beginning, there was",
    "Python is a programming language that",
    "The square root of 144 is",
    "On Monday morning the bus was late because",
    "A haiku about rain:\n",
    "Monday, Tuesday, Wednesday,",
    "for i in range(10):\n    ",
    "SELECT name, age FROM users WHERE",
    "#include <stdio.h>\n\nint main(void) {\n",
    "class Stack:\n    def push(self, item):\n",
    '{"name": "Ada", "born": 1815, "field": "',
    "<html>\n<head>\n<title>",
    "- apples\n- pears\n- ",
    "2 + 2 = 4\n3 + 3 = 6\n4 + 4 =",
    "10, 20, 30, 40,",
    "The year after 1999 was",
    "£1,299.00 minus 10% is",
    "Berlin ist die Hauptstadt von",
    "Le chat est assis sur",
    "El perro de mi vecino",
    "日本の首都は",
    "🙂 means happy and 😢 means",
    "   indented text",
    "Q: Why is the sky blue?\nA:",
    "Abstract. We study the problem of",
    "Dear Grandma,\n\nThank you for",
    "ROMEO. But soft, what light",
)
QUESTIONS = (
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Is 17 a prime number?",
    "Name three fruits.",
    "Translate 'good morning' into Spanish.",
    "How do I boil an egg?",
    "What does HTTP stand for?",
    "Who wrote Hamlet?",
)
NEW = 8  # tokens of each


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.slow)])
def test_llama_cpp_says_our_tokens_of_our_file(model: Loaded, tmp_path: Path, every: int) -> None:
    """Of every tenth prompt, or of all 50. The two round sums of float32 in another order, which
    moves a logit by some 1e-4: where they part, llama.cpp's token is as likely as ours to that.
    """
    asked = [
        render(model.tokenizer, [{"role": "user", "content": question}], reply=True)[0]
        for question in QUESTIONS
    ]
    assert len(TEXTS) + len(asked) == 50
    save_gguf(tmp_path / "SmolLM2.gguf", model.network, model.tokenizer, "F32")
    server = LlamaServer(tmp_path / "SmolLM2.gguf")
    prompts = [*TEXTS, *asked][::every]
    compared, ties = follow(model, server, NEW, nats=1e-3, prompts=prompts)
    assert compared >= 6 * len(prompts)  # an answer may end before
    assert ties <= 2
