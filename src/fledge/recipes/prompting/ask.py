"""`fledge ask`: a question, or a file of them, by one prompting program or several side by side.

A verb of its own beside `evaluate`: there the way of asking is fixed and the model is measured;
here the model is fixed, ours or an endpoint whose weights nobody has, and the way is chosen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, create_model

from fledge.errors import UserError
from fledge.evaluate.intervals import paired_difference, share_interval
from fledge.prompting.program import Answered, Asking, PromptingProgram
from fledge.prompting.questions import Question, read_questions
from fledge.prompting.reading import is_right
from fledge.prompting.registry import find_programs
from fledge.prompting.speaker import Saying
from fledge.recipes.prompting.memory_fields import MemoryFields
from fledge.recipes.prompting.speaker_fields import SpeakerFields
from fledge.runs.atomic import write_text
from fledge.runs.show import Show
from fledge.tools.calculator import CALCULATOR
from fledge.tools.memory_tools import make_search_tool
from fledge.tools.python_tool import make_python_tool, open_runner
from fledge.tools.tool import Tool

_OWN = ("memory", "memory_encoder")  # a model that is measured reads its memory, and writes none


class AskConfig(SpeakerFields):
    """Answer a question, or a file of questions, by prompting programs: zero_shot, few_shot,
    zero_shot_cot, few_shot_cot, self_consistency, self_refine, program_aided, react, persona,
    structured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    chosen: ClassVar[bool] = False  # whether the programs' fields are among these

    question: str | None = Field(default=None, description="one question")
    data: Path | None = Field(
        default=None,
        description="a .jsonl (or .jsonl.gz) with a `question` and an `answer` on each line; "
        "GSM8K's are read too",
    )
    prompting: str = Field(
        default="zero_shot", description="programs with commas between, or all; the first is the "
        "one that others are held against",
    )  # fmt: skip
    examples: Path | None = Field(
        default=None,
        description="a .jsonl that demonstrations are taken from; by default the first of data, "
        "which are then not asked",
    )
    shots: int = Field(default=4, ge=1, description="demonstrations, of programs that show some")
    questions: int = Field(default=100, ge=1, description="of data that are asked, from the front")
    max_new_tokens: int = Field(default=256, ge=1, description="of an answer")
    temperature: float = Field(default=0.0, ge=0, description="of answers; 0 is greedy")
    memory: Path | None = Field(
        default=None, description="a file of memories, which react searches (see `fledge recall`)"
    )
    memory_encoder: Path | None = Field(
        default=None, description="the sentence encoder that the memory was made with"
    )
    seconds: float = Field(default=5.0, gt=0, description="that a program of the model's may run")
    out: Path | None = Field(
        default=None, description="a .jsonl for every answer, with all that was said on the way"
    )

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[Self]:
        """With the fields of the programs that are given."""
        fields: dict[str, Any] = {}
        for program in find_programs(str(given.get("prompting", "zero_shot"))):
            for name, field in program.settings.model_fields.items():
                fields[name] = (field.annotation, field)
        composed = create_model(f"{cls.__name__} of programs", __base__=cls, **fields)
        composed.chosen = True
        return composed

    def settings_of(self, program: PromptingProgram) -> Any:
        names = program.settings.model_fields
        return program.settings(**{name: getattr(self, name) for name in names})


def ask(config: AskConfig, show: Show) -> dict[str, Any]:
    """Raises UserError for a file that has no questions, examples that a program lacks, and a model
    that does not answer.
    """
    if not config.chosen:
        given = {name: getattr(config, name) for name in config.model_fields_set}
        config = AskConfig.compose(given).model_validate(given)
    programs = find_programs(config.prompting)
    if config.out is not None and not config.out.absolute().parent.is_dir():
        raise UserError(f"out={config.out} cannot be written: there is no such folder.")
    asked, examples = read_asked(config, programs)
    shown = {each.name: choose_shown(each, config, examples) for each in programs}
    speaker = config.open_speaker()
    saying = Saying(config.max_new_tokens, config.temperature, seed=config.seed)
    run = open_runner(config.seconds)
    tools = list_tools(config, run)
    results: dict[str, dict[str, Any]] = {}
    lines: list[str] = []
    rights: dict[str, list[float]] = {}
    if len(asked) > 1:
        show.line(f"{len(asked)} questions of {config.data}, asked of {speaker.name}")
    for program in programs:
        began = time.perf_counter()
        asking = Asking(speaker, shown[program.name], saying, tools, run)
        answered = program.answer(
            asking, [each.text for each in asked], config.settings_of(program)
        )
        seconds = time.perf_counter() - began
        marks = [
            float(is_right(one.answer, each.answer))
            for one, each in zip(answered, asked, strict=True)
        ]
        rights[program.name] = marks
        results[program.name] = describe(program.name, asked, answered, rights) | {
            "seconds": seconds
        }
        tell(program.name, results[program.name], programs, show)
        for question, one, mark in zip(asked, answered, marks, strict=True):
            row = {"program": program.name, "question": question.text, "answer": one.answer}
            known = {"wanted": question.answer, "right": bool(mark)} if question.answer else {}
            lines.append(json.dumps({**row, **known, "turns": one.turns}, ensure_ascii=False))
    if config.out is not None:
        write_text(config.out, "".join(f"{line}\n" for line in lines))
        show.line(f"Every answer, with what was said on the way: {config.out}")
    return {"base": config.base, "questions": len(asked), "programs": results}


def read_asked(
    config: AskConfig, programs: Sequence[PromptingProgram]
) -> tuple[list[Question], list[Question]]:
    """What is asked, and what demonstrations may be taken from."""
    if (config.question is None) == (config.data is None):
        raise UserError("ask needs question=… or data=FILE, one of them.")
    shows = any(program.shows != "none" for program in programs)
    own = [] if config.examples is None else read_questions(config.examples)
    if config.data is None:
        return [Question(str(config.question), "")], own
    rows = read_questions(config.data)
    if shows and not own:
        own, rows = rows[: config.shots], rows[config.shots :]
    if not rows:
        raise UserError(
            f"{config.data} has no questions beside the {config.shots} that are shown: give more, "
            "fewer shots, or examples=FILE."
        )
    return rows[: config.questions], own


def choose_shown(
    program: PromptingProgram, config: AskConfig, examples: Sequence[Question]
) -> tuple[Question, ...]:
    """Raises UserError where a program wants more than there is."""
    if program.shows == "none":
        return ()
    if program.shows == "reasoning":
        examples = [each for each in examples if each.reasoning]
        if not examples and program.name == "self_consistency":
            return ()  # it draws chains without examples too
    if len(examples) < config.shots:
        kind = " with their `reasoning`" if program.shows == "reasoning" else ""
        raise UserError(
            f"prompting={program.name} shows {config.shots} questions with answers{kind}, and "
            f"{len(examples)} are given: give examples=FILE with more, or fewer shots."
        )
    return tuple(examples[: config.shots])


def list_tools(config: AskConfig, run: Any) -> tuple[Tool, ...]:
    tools = [CALCULATOR, make_python_tool(run)]
    given = {name: getattr(config, name) for name in _OWN}
    store = MemoryFields(**given).open_memory()
    if store is not None:
        tools.append(make_search_tool(store))
    return tuple(tools)


def describe(
    name: str,
    asked: Sequence[Question],
    answered: Sequence[Answered],
    rights: Mapping[str, Sequence[float]],
) -> dict[str, Any]:
    """The figures of one program; beside the first one's, question by question."""
    told: dict[str, Any] = {
        "calls": sum(one.calls for one in answered),
        "unanswered": sum(not one.answer for one in answered),
    }
    if len(asked) == 1:
        told |= {"answer": answered[0].answer, "said": answered[0].turns[-1]["content"]}
    if not all(each.answer for each in asked):
        return told
    right = sum(rights[name])
    told |= {"right": right / len(asked), "interval": share_interval(right, len(asked))}
    first = next(iter(rights))
    if first != name:
        gap = paired_difference(rights[first], rights[name])
        told["against_first"] = [gap.difference, gap.low, gap.high]
    return told


def tell(
    name: str, told: Mapping[str, Any], programs: Sequence[PromptingProgram], show: Show
) -> None:
    width = max(len(program.name) for program in programs)
    if "right" not in told:
        head = f"{name:<{width}}  " if len(programs) > 1 else ""
        show.line(f"{head}{told['answer'] or '(no answer came)'}")
        return
    low, high = told["interval"]
    line = f"{name:<{width}}  {told['right']:6.1%} right ({low:.0%} to {high:.0%})"
    if "against_first" in told:
        gap, low, high = (100 * value for value in told["against_first"])
        line += f", {gap:+.1f} points ({low:+.1f} to {high:+.1f}) beside {programs[0].name}"
    line += f", {told['calls']:,} answers in {told['seconds']:.1f} s"
    if told["unanswered"]:
        line += f"; {told['unanswered']} without an answer"
    show.line(line)
