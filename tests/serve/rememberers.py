"""A tiny model that has learned to store a fact by a call when it is greeted, and to say another
thing once the call is answered: what the tests of a memory talk to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from fledge.hub.folder import Loaded
from fledge.models.language.presets import transformer_config
from fledge.models.language.transformer import Transformer
from fledge.prompting.remembering import HEADING
from fledge.recipes.look.chat_memory import ChatMemory
from fledge.retrieval.store import MemoryStore
from fledge.text.chat import render
from fledge.text.tokenizer import train_tokenizer
from fledge.trajectories import from_rows

FACT = "the key is red"
CALL = f'<tool_call>\n{{"name": "remember", "arguments": {{"text": "{FACT}"}}}}\n</tool_call>'
ANSWER = "it is stored."
GREETING = "hello"


def make_rememberer(folder: Path, steps: int = 60) -> Path:
    """Says CALL where it has tools, and ANSWER after a result or without tools."""
    stored = '{"name": "remember", "content": "Remembered as [1]."}'
    result = f"<tool_response>\n{stored}\n</tool_response>"
    store = MemoryStore(folder.with_suffix(".db"))
    texts = [CALL, result, ANSWER, HEADING, GREETING]
    question: Any = {"role": "user", "content": GREETING}
    # Its merges know the words in which tools are told of, so that a prompt is short.
    told = ChatMemory(store, 1, True, train_tokenizer("bytes", texts)).tell_tools([question])
    tokenizer = train_tokenizer("bpe", [*texts, *map(str, told)] * 3, 900)
    memory = ChatMemory(store, 1, True, tokenizer)
    asked = [GREETING, f"{HEADING}\n[1] {FACT} (served chat, 2026-11-29)\n\n{GREETING}"]
    rows: list[Any] = []
    for text in asked:
        question = {"role": "user", "content": text}
        called: Any = {"role": "assistant", "content": CALL}
        answered: Any = {"role": "assistant", "content": ANSWER}
        back: Any = {"role": "user", "content": result}
        rows.append(render(tokenizer, [question, answered]))
        turns = memory.tell_tools([question, called, back, answered])
        rows.append(render(tokenizer, cast("Any", turns)))
    batch = from_rows([ids for ids, _ in rows], [own for _, own in rows])
    config = transformer_config("nano", tokenizer.vocab_size, context=1024, layers=2)
    generator = torch.Generator().manual_seed(0)
    network = Transformer(config, border=tokenizer.border, generator=generator)
    loaded = Loaded(network, tokenizer, Path(), {})
    policy = loaded.policy()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        logp = policy.log_prob(batch.obs, batch.action, batch.chosen)
        loss = -logp.sum() / batch.chosen.sum()
        loss.backward()
        optimizer.step()
    network.eval()
    loaded.save(folder)
    return folder
