"""Text as people have it: folders with links and hidden files, shards that were damaged while a run
was stopped.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.cli.commands import PRETRAIN, Cli, Models, outcome


@pytest.mark.parametrize("name", ["train-00000.bin", "validation-00000.bin"])
def test_shards_damaged_while_a_run_is_stopped_are_written_again_and_the_bits_are_the_same(
    name: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = [*models.fill(PRETRAIN), "save_every_s=0"]
    run = tmp_path / "run"
    stopped = cli(
        [*words, "out=run"], folder=tmp_path, signal=signal.SIGKILL, once=run / "samples.jsonl"
    )
    assert stopped.code == -signal.SIGKILL, stopped.stderr
    shard = run / "shards" / name
    shard.write_bytes(bytes(shard.stat().st_size))
    resumed = cli("resume run=run", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    assert (
        f"shards/{name} is not as it was written: the text is read and written again"
        in resumed.stdout
    )
    assert outcome(run) == outcome(models.folder / "pretrain")


def test_a_folder_says_what_was_not_read_in_a_line_each(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    (tmp_path / "data" / ".git").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    text = (models.folder / "text.txt").read_text()
    for place in ("data/a.txt", "data/again.txt", "data/.git/b.txt", "data/._a.txt", "data/c.pdf"):
        (tmp_path / place).write_text(text)
    (tmp_path / "far" / "d.md").write_text("another text: " + text[::-1])
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "far")
    train = "tokenizer train kind=bytes data=data out=tokenizer"
    done = cli(f"{train} --json", folder=tmp_path)
    assert (done.result["documents"], done.result["bytes"]) == (2, 2 * len(text) + 14)
    passed, copies, *_ = done.stderr.splitlines()
    assert passed == (
        "passed over in the data: 1 hidden file, 1 hidden folder (hidden=true reads them), "
        "1 file of other kinds (1 .pdf)"
    )
    assert (
        copies
        == "1 document is left out of the data as copies of others (duplicates=keep takes them)"
    )
    everything = f"{train} hidden=true links=skip duplicates=keep --json"
    assert cli(everything, folder=tmp_path).result["documents"] == 4
    kept = json.loads((models.folder / "pretrain" / "config.json").read_text())["config"]
    assert (kept["hidden"], kept["links"], kept["duplicates"]) == (False, "follow", "drop")
