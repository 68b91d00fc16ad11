"""The prompting programs by name."""

from __future__ import annotations

import difflib

from fledge.errors import UserError
from fledge.prompting.program import PromptingProgram
from fledge.prompting.programs import (
    chain_of_thought,
    plain,
    program_aided,
    react,
    self_consistency,
    self_refine,
    structured,
)

MODULES = (
    plain, chain_of_thought, self_consistency, self_refine, program_aided, react, structured,
)  # fmt: skip
PROGRAMS: dict[str, PromptingProgram] = {
    program.name: program for module in MODULES for program in module.PROGRAMS
}


def find_programs(names: str) -> list[PromptingProgram]:
    """Of names with commas between; `all` is each. Raises UserError for one that there is not."""
    if names.strip() == "all":
        return list(PROGRAMS.values())
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    for name in chosen:
        if name not in PROGRAMS:
            near = difflib.get_close_matches(name, PROGRAMS, n=1)
            hint = f" Perhaps you meant {near[0]}." if near else ""
            raise UserError(
                f"prompting={name} is none of {', '.join(PROGRAMS)}, all.{hint} Give one or more, "
                "with commas between."
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise UserError(f"prompting={names!r} was given: name programs, each once.")
    return [PROGRAMS[name] for name in chosen]
