#!/usr/bin/env bash
# torch 2.13.0 on Linux: a new process that a large one starts reports the large one's memory as its own peak.
#
# Guess:  a program started anew (subprocess, or torch.multiprocessing's "spawn") begins with a clean count: ru_maxrss is its peak.
# Seen:   the kernel keeps the largest size from before the child became another program, when it still was an image of its parent.
#         A child that does nothing reports the parent's peak; VmHWM of /proc/self/status tells its own.
# Why it matters: a benchmark that runs each case in a fresh process and reads getrusage finds what the program that runs it holds,
#         and finds it in each case alike.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy
cat > "$work/run.py" <<'PY'
import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

import torch
import torch.multiprocessing

ASK = """
import re, resource
own = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, own // 1024)
"""


def peaks(place):
    own = int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
    Path(place).write_text(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} {own // 1024}")


def measure(place):
    told = subprocess.run([sys.executable, "-c", ASK], check=True, capture_output=True, text=True).stdout
    worker = torch.multiprocessing.get_context("spawn").Process(target=peaks, args=(place,))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    found = {}
    for name, line in (("subprocess", told), ("spawn", Path(place).read_text())):
        found[name] = [int(number) for number in line.split()]
        print(f"  {name}: ru_maxrss {found[name][0]} MiB, VmHWM {found[name][1]} MiB")
    return found


if __name__ == "__main__":
    print("torch", torch.__version__, "Linux", platform.release(), "Python", platform.python_version())
    place = os.path.join(sys.argv[1], "told")
    print("the parent has imported torch")
    small = measure(place)
    weights = torch.ones(150_000_000)
    print("the parent holds 572 MiB more")
    large = measure(place)
    for name in ("subprocess", "spawn"):
        assert large[name][0] - small[name][0] > 400, "ru_maxrss begins anew now"
        assert abs(large[name][1] - small[name][1]) < 100, "the child itself is as small as before"
PY
"$work/venv/bin/python" "$work/run.py" "$work"
