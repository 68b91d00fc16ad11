#!/usr/bin/env bash
# torch 2.13.0: a decorator that only marks a function for torch.compile imports the whole compiler, in programs that never compile.
#
# Guess:  `@torch.compiler.assume_constant_result` leaves a mark that torch.compile finds if it is ever called: to decorate costs
#         nothing. The name is there after `import torch`, as that of `torch.library.custom_op` is, which imports nothing until it is called.
# Seen:   the mark is one attribute of the function, and before it is set torch._dynamo is imported, with torch._inductor, sympy
#         and some 800 modules: about as long again as `import torch` itself. So do `allow_in_graph` and `disable`;
#         `torch.compiler.is_compiling()`, of the same module, does not.
# Why it matters: a library that marks one helper at the top of a file doubles the start of every program that imports it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cat > "$work/run.py" <<'PY'
import sys
import time

began = time.perf_counter()
import torch

imported = time.perf_counter() - began
kind = sys.argv[1]


def function(x):
    return x


before, began = set(sys.modules), time.perf_counter()
if kind == "custom_op":
    @torch.library.custom_op("mine::same", mutates_args=())
    def same(x: torch.Tensor) -> torch.Tensor:
        return x.clone()
elif kind == "is_compiling":
    torch.compiler.is_compiling()
else:
    getattr(torch.compiler, kind)(function)
seconds = time.perf_counter() - began
new = set(sys.modules) - before
marks = sorted(vars(function))
print(f"{kind}: {len(new)} modules in {seconds:.2f} s (import torch: {imported:.2f} s), marks {marks}")
brings = {"torch._dynamo", "sympy"} <= new
assert brings == (sys.argv[2] == "all") and (len(new) > 500) == brings, "another behaviour than was seen"
PY
for kind in assume_constant_result allow_in_graph disable; do "$work/venv/bin/python" -W ignore "$work/run.py" $kind all; done
for kind in custom_op is_compiling; do "$work/venv/bin/python" -W ignore "$work/run.py" $kind none; done
