"""What a command imports before it knows what it needs: a second of imports is a second of every
command.
"""

from __future__ import annotations

import json
import subprocess
import sys

import torch

from fledge.compiled_constant import constant_when_compiled

# Each takes a tenth of a second or more, and is wanted by some runs.
HEAVY = (
    "torch._dynamo", "torch._inductor", "sympy", "transformers", "peft", "datasets", "sklearn",
    "matplotlib", "pandas", "fastapi", "jax",
)  # fmt: skip
CODE = """
import importlib, json, sys
from fledge.cli.verbs import VERBS
for module in sorted({verb.module for verb in VERBS.values()}):
    importlib.import_module(module)
print(json.dumps(sorted(set(sys.modules) & set(json.loads(sys.argv[1])))))
"""


def test_no_verb_imports_what_only_some_runs_want() -> None:
    command = [sys.executable, "-c", CODE, json.dumps(HEAVY)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


def test_the_mark_of_a_constant_is_torch_s_own() -> None:
    def ours() -> bool:
        return True

    def theirs() -> bool:
        return True

    torch.compiler.assume_constant_result(theirs)
    assert vars(constant_when_compiled(ours)) == vars(theirs) != {}
