"""The verifiable text tasks as a World: what has been said so far is seen, the next byte is the
action, the verdict is the reward.

So whatever learns in a world can learn words, without a tokenizer. An observation is a row of
symbols, not of numbers: 65 and 66 are no nearer to each other than 65 and 90. It is therefore
`Choices`, one for each place of the row, and a network embeds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.tasks.named import Example, load_task
from fledge.worlds.world import Choices, Space, Step

STOP = 256  # ends the prompt in the row, and is the action that ends the reply
BLANK = 257  # nothing has been said here yet


class WordsWorld:
    """Observation [prompt_bytes + 1 + reply_bytes] of 0…257: the prompt's bytes, STOP, the reply so
    far, BLANKs. Action: 0…256.

    The reply ends with STOP, which earns the task's score of the text before it: terminated. A
    reply of `reply_bytes` symbols without one is no answer and earns 0, or its score where that is
    below 0: truncated, and terminated too, for the row is full and nothing can come after it (as in
    `sample.rollouts`). Bytes that are no UTF-8 are read as U+FFFD. Copies draw their prompts, of
    the training split, in turn.
    """

    restorable = True

    def __init__(
        self, task: str, copies: int, *, prompt_bytes: int = 32, reply_bytes: int = 16
    ) -> None:
        """task: what `load_task` takes. Raises UserError for an unknown one."""
        self.task, self.name, self.copies = load_task(task), f"words:{task}", copies
        self.prompt_bytes, self.reply_bytes = prompt_bytes, reply_bytes
        self.width = prompt_bytes + 1 + reply_bytes
        self.observation: Space = Choices((BLANK + 1,) * self.width)
        self.action: Space = Choices((STOP + 1,))
        self.rows = torch.full((copies, self.width), BLANK)  # [n, width]
        self.said = torch.zeros(copies, dtype=torch.long)  # symbols in the row
        self.begins = torch.zeros(copies, dtype=torch.long)  # where the reply does
        self.over = torch.zeros(copies, dtype=torch.bool)
        self.asked = [0] * copies  # the number of each copy's example
        self.next = 0  # the number of the example after these

    def reset(self, seed: int) -> Tensor:
        self.next = seed << 40  # so that the examples of two seeds are others
        self.over = torch.zeros(self.copies, dtype=torch.bool)
        for i in range(self.copies):
            self._ask(i)
        return self.rows.clone()

    def step(self, action: Tensor) -> Step:
        """Raises UserError for a prompt that is too long for the row, and what a task of the user's
        own raises.
        """
        if bool(((action < 0) | (action > STOP)).any()):
            raise UserError(
                f"{self.name} was told {action.tolist()}: a byte, 0 to 255, or {STOP} to stop is "
                "wanted."
            )
        going = (~self.over).nonzero().squeeze(1)  # [k]
        self.rows[going, self.said[going]] = action[going]
        self.said[going] += 1
        stopped = (action == STOP) & ~self.over
        full = (self.said - self.begins >= self.reply_bytes) & ~stopped & ~self.over
        reward = torch.zeros(self.copies)
        ended = (stopped | full).nonzero().squeeze(1).tolist()
        if ended:
            examples = [self._example(self.asked[i]) for i in ended]
            verdicts = self.task.judge(examples, [self._reply(i, bool(stopped[i])) for i in ended])
            score = torch.tensor([verdict.score for verdict in verdicts], dtype=torch.float32)
            reward[ended] = torch.where(stopped[ended], score, score.clamp(max=0.0))
        for i in self.over.nonzero().squeeze(1).tolist():
            self._ask(i)
        self.over = stopped | full
        return Step(self.rows.clone(), reward, self.over, full)

    def _example(self, number: int) -> Example:
        return self.task.example(number, "train")

    def _reply(self, i: int, stopped: bool) -> str:
        """What copy i has said, before the STOP if there is one."""
        said = self.rows[i, self.begins[i] : self.said[i] - int(stopped)].tolist()
        return bytes(said).decode("utf-8", errors="replace")

    def _ask(self, i: int) -> None:
        """Copy i gets the next prompt."""
        self.asked[i], self.next = self.next, self.next + 1
        prompt = self._example(self.asked[i]).prompt.encode()
        if len(prompt) > self.prompt_bytes:
            raise UserError(
                f"{self.name} asks {prompt.decode()!r}, which has {len(prompt)} bytes, and a row "
                f"has room for {self.prompt_bytes}: raise `prompt_bytes`, or shorten the task's "
                "prompts."
            )
        self.rows[i] = BLANK
        self.rows[i, : len(prompt) + 1] = torch.tensor([*prompt, STOP])
        self.said[i] = self.begins[i] = len(prompt) + 1

    def state_dict(self) -> dict[str, Any]:
        row_state = {
            "rows": self.rows.clone(),
            "said": self.said.clone(),
            "begins": self.begins.clone(),
        }
        drawn = {"over": self.over.clone(), "asked": list(self.asked), "next": self.next}
        return {**row_state, **drawn, "task": self.task.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Tensor:
        self.rows, self.said, self.begins = (
            state[part].clone() for part in ("rows", "said", "begins")
        )
        self.over, self.asked, self.next = (
            state["over"].clone(),
            list(state["asked"]),
            state["next"],
        )
        self.task.load_state_dict(state["task"])
        return self.rows.clone()

    def close(self) -> None:
        """It holds nothing that must be given back."""
