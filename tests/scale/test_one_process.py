"""A run of one process imports nothing of what many need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.commands import PRETRAIN, environment

ASK = """
import sys
from fledge.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
print("scale:", sorted(name for name in sys.modules if name.startswith("fledge.scale")))
print("started:", __import__("torch").distributed.is_initialized())
"""


def test_a_run_of_one_process_imports_nothing_of_scale(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("\n\n".join(f"row {n} of a text" for n in range(600)))
    words = PRETRAIN.format(text="text.txt").replace("steps=12", "steps=2").split()
    ran = subprocess.run(
        [sys.executable, "-c", ASK, *words, "out=run"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.splitlines()[-2:] == ["scale: []", "started: False"]
