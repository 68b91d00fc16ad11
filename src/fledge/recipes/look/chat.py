"""`fledge chat`: a conversation in the terminal, words appearing as they are chosen."""

from __future__ import annotations

import codecs
import dataclasses
from pathlib import Path
from typing import Any

import torch
from pydantic import ConfigDict, Field, field_validator

from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.engine.request import Request
from fledge.errors import UserError
from fledge.log_prob import Decoding
from fledge.prompting.remembering import ROUNDS
from fledge.recipes.family_field import FamilyField
from fledge.recipes.look.chat_commands import (
    MEMORY_COMMANDS,
    read_command,
    refuse_unknown,
    write_help,
)
from fledge.recipes.look.chat_memory import ChatMemory, write_sources
from fledge.recipes.look.dialogue import Dialogue, Exchange
from fledge.recipes.look.sound_model import load_sound_model
from fledge.recipes.look.typed_lines import TypedLines
from fledge.recipes.prompting.memory_fields import MemoryFields
from fledge.runs.show import Show
from fledge.seeds import generator_for
from fledge.text.chat import Conversation
from fledge.text.tool_calls import ToolCall, ToolCallReader


class ChatConfig(FamilyField, MemoryFields):
    """Talk to a model. /help lists what else can be done; Ctrl-C stops an answer, Ctrl-D ends.
    Lines may come through a pipe, where an empty one ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    base: Path = Field(description="the run or model folder to talk to")
    system: str | None = Field(default=None, description="what stands before the conversation")
    history: bool = Field(
        default=True,
        description=(
            "keep earlier turns in the context; false suits models tuned on single questions"
        ),
    )
    max_new_tokens: int = Field(default=256, ge=1, description="of an answer")
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy")
    top_k: int = Field(default=0, ge=0, description="0 keeps every token")
    top_p: float = Field(default=1.0, gt=0, le=1, description="nucleus mass")
    min_p: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="drops tokens less than this times as likely as the likeliest",
    )
    precision: Generation = Field(default="fp32", description="of the weights as they generate")
    seed: int = Field(default=0, ge=0, description="of the draws")

    @field_validator("memory", mode="before")
    @classmethod
    def _is_no_switch(cls, value: Any) -> Any:
        if str(value).casefold() in ("true", "false"):
            raise ValueError("it names a file now; earlier turns are kept or not by history=")
        return value


def chat(config: ChatConfig, show: Show) -> dict[str, Any]:
    """Reads lines from standard input, so a pipe can talk too. Raises UserError for what is no
    model, and for one whose weights are no numbers.
    """
    config.use_family()
    talk = Talk(config, show)
    if talk.lines.interactive:
        show.line(f"{config.base}: write a line and press Enter; /help lists what else there is.")
        if not config.history:
            show.line("Each line stands alone; history=true keeps the conversation.")
    with talk.lines.hold_interrupts():
        converse(talk, show)
    return {"base": str(config.base), "messages": talk.spoken}


def converse(talk: Talk, show: Show) -> None:
    """Line by line, to the end of the input, or to the second Ctrl-C in a row."""
    left = False  # Ctrl-C was the last thing that came
    while True:
        try:
            line = talk.lines.ask()
        except KeyboardInterrupt:
            if left or not talk.lines.interactive:
                return
            left = True
            show.line("\n(Ctrl-C once more, or Ctrl-D, ends)")
            continue
        if line is None or not (line.strip() or talk.lines.interactive):
            return
        left = talk.take(line) if line.strip() else False


class Talk:
    """One conversation after the other with one model."""

    def __init__(self, config: ChatConfig, show: Show) -> None:
        self.config, self.show = config, show
        self.model = load_sound_model(config.base)
        # An answer goes on from what the last one left in the prefix cache.
        self.engine = Engine(
            self.model.policy(), slots=1, prefix_cache_rows=1, precision=config.precision
        )
        self.rule = Decoding(config.temperature, config.top_k, config.top_p, config.min_p)
        self.generator = generator_for(config.seed, "samples")
        self.lines = TypedLines(show)
        store = config.open_memory()
        self.memory = None
        if store is not None:
            tools = config.memory_tools
            self.memory = ChatMemory(store, config.memory_shown, tools, self.model.tokenizer)
            self.memory.check_room(self.model.tokenizer, self.model.network.config.context)
        self.dialogue = Dialogue(config.system, config.history)
        self.spoken: Conversation = []  # all of it, whatever was forgotten since
        self._say_system()
        self.saved: set[Path] = set()

    def take(self, line: str) -> bool:
        """Answer a line, or do what it asks. True where Ctrl-C stopped it."""
        command = read_command(line)
        try:
            if command is not None and (self.lines.interactive or command == ("/new", "")):
                return self._obey(*command)
            return self._answer(line)
        except UserError as error:  # one line that cannot be answered does not end the conversation
            self.show.line(str(error))
            return False

    def _obey(self, name: str, rest: str) -> bool:
        """Raises UserError for a command that there is not, or that has nothing to work on."""
        if name == "/new":
            self.dialogue = Dialogue(self.dialogue.system, self.config.history)
            if self.lines.interactive:
                self.show.line("(a fresh start)")
        elif name in ("/edit", "/retry"):
            return self._answer_again(name, rest)
        elif name == "/system":
            self.dialogue.system = rest or None
            self._say_system()
            self.show.line(f"(system: {rest})" if rest else "(no system prompt)")
        elif name == "/temperature":
            self._set_temperature(rest)
        elif name == "/save":
            self._save(rest)
        elif name == "/help":
            self.show.line(write_help(remembers=self.memory is not None))
        elif name in MEMORY_COMMANDS and self.memory is not None:
            self.show.line(self.memory.obey(name, rest))
        else:
            raise UserError(refuse_unknown(name))
        return False

    def _answer_again(self, name: str, rest: str) -> bool:
        if not self.dialogue.exchanges:
            raise UserError(f"{name} was given and nothing has been answered yet: write a line.")
        line = self.dialogue.exchanges[-1].line
        if name == "/edit":
            try:
                line = rest or self.lines.ask(already=line) or ""
            except KeyboardInterrupt:
                line = ""
            if not line.strip():
                self.show.line("(left as it was)")
                return False
        elif self.rule.temperature == 0:
            self.show.line("(temperature 0 draws nothing: /temperature 0.8 gives other answers)")
        self.dialogue.take_back()
        del self.spoken[-2:]
        return self._answer(line)

    def _set_temperature(self, text: str) -> None:
        if text:
            try:
                given = float(text)
            except ValueError:
                raise UserError(
                    f"/temperature {text} was given: it takes a number of 0 or more, such as 0.8."
                ) from None
            self.rule = dataclasses.replace(self.rule, temperature=given)
        self.show.line(f"(temperature {self.rule.temperature:g})")

    def _save(self, text: str) -> None:
        if not text:
            raise UserError("/save needs the name of a file: /save talk.jsonl")
        if not self.dialogue.exchanges:
            raise UserError(f"/save {text} was given and nothing has been said yet.")
        path = Path(text).expanduser().absolute()
        if path.exists() and path not in self.saved:
            raise UserError(f"{text} is there already: give another name.")
        self.dialogue.save(path)
        self.saved.add(path)
        self.show.line(f"(saved: {text})")

    def _answer(self, line: str) -> bool:
        """Raises UserError where it cannot be answered; it is then no part of the conversation."""
        if self.memory is None:
            exchange, _, stopped = self._generate(line, self._encode(line))
        else:
            exchange, stopped = self._answer_remembering(line, self.memory)
        if stopped and not exchange.answer:
            self.show.line("(stopped before the first word: this line is forgotten)")
            return True
        self.dialogue.exchanges.append(exchange)
        self.spoken += exchange.write_messages()
        return stopped

    def _answer_remembering(self, line: str, memory: ChatMemory) -> tuple[Exchange, bool]:
        """With what is remembered about the line before it, and calls of tools between."""
        remembering, after = memory.begin(), Conversation()
        asked = remembering.put_before(line)
        left = ROUNDS  # of calls; then the model has no tools, and has to answer
        while True:
            told = {"prepare": memory.tell_tools} if left else {}
            prompt = self._encode(asked, after=after, **told)
            reader = memory.make_reader() if left else None
            exchange, calls, stopped = self._generate(line, prompt, reader)
            if not calls or stopped:
                break
            after += remembering.answer_calls(exchange.answer, calls)
            left -= 1
        for said in write_sources(remembering):
            self.show.line(said)
        return exchange, stopped

    def _encode(self, line: str, **more: Any) -> list[int]:
        context = self.model.network.config.context
        forgotten = self.dialogue.forgotten
        prompt = self.dialogue.encode_prompt(
            self.model.tokenizer, line, context, min(self.config.max_new_tokens, context // 2),
            **more,
        )  # fmt: skip
        if self.dialogue.forgotten > forgotten and self.lines.interactive:
            self.show.line(f"(the context of {context} tokens is full: the oldest turns are out)")
        return prompt

    def _generate(
        self, line: str, prompt: list[int], reader: ToolCallReader | None = None
    ) -> tuple[Exchange, list[ToolCall], bool]:
        """An answer, shown as it comes: bytes wait until they are whole characters, and what may be
        a call until it is none. With the calls, and whether Ctrl-C stopped it.
        """
        tokenizer = self.model.tokenizer
        characters = codecs.getincrementaldecoder("utf-8")(errors="replace")
        said, calls = list[str](), list[ToolCall]()

        def take(text: str, *, last: bool = False) -> None:
            read = list[ToolCall]()
            if reader is not None:
                text, read = reader.take(text)
                if last:
                    rest, more = reader.end()
                    text, read = text + rest, [*read, *more]
            calls.extend(read)
            said.append(text)
            self.show.say(text)

        def appear(number: int, token: int) -> None:
            take(characters.decode(tokenizer.decode_bytes([token])))

        request = Request(
            prompt,
            self.config.max_new_tokens,
            rule=self.rule,
            stop=tokenizer.ends,
            seed=int(torch.randint(2**62, (), generator=self.generator)),
        )
        stop = self.lines.interrupted
        number = self.engine.submit(request, appear)
        completion = None
        while completion is None:
            completion = dict(self.engine.advance()).get(number)
            if stop.is_set():
                self.engine.cancel(number)
        if completion.error is not None:
            raise UserError(completion.error)
        take(characters.decode(b"", final=True), last=True)
        answer = "".join(said)
        if answer or not calls:
            self.show.line("")
        return Exchange(line, answer, completion.stopped), calls, stop.is_set()

    def _say_system(self) -> None:
        if self.dialogue.system:
            self.spoken.append({"role": "system", "content": self.dialogue.system})
