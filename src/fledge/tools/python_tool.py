"""Python as a tool: a program that the model wrote, run in a process of its own under limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fledge.errors import UserError
from fledge.programs.limits import Outcome, Program, ProgramLimits
from fledge.programs.pool import ProgramPool
from fledge.tools.tool import Tool

RunPrograms = Callable[[Sequence[str]], list[Outcome]]


def open_runner(seconds: float) -> RunPrograms:
    """What runs programs, several at once; its processes begin with the first and end with it.
    seconds: that each may take.
    """
    pool = ProgramPool(ProgramLimits(seconds=seconds))
    return lambda sources: pool.run([Program(source) for source in sources]) if sources else []


def make_python_tool(run: RunPrograms) -> Tool:
    def call(code: str) -> str:
        [outcome] = run([code])
        if not outcome.whole:
            raise UserError(f"{outcome.error}. It printed: {outcome.output.strip() or 'nothing'}")
        return outcome.output.strip() or "(it printed nothing)"

    return Tool(
        "python",
        "Runs a Python program and gives what it prints. No network, no files.",
        {"code": "the program"},
        call,
    )
