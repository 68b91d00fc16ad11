"""A run's model/: written whole, with hashes beside it in model.sha256, by which damage is noticed before it is spoken with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fledge.errors import UserError
from fledge.runs.atomic import known_sha256, sha256, write_text
from fledge.runs.lineage import verb_of
from fledge.runs.whole_folder import replaced_whole, standing

MODEL_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    "critic.safetensors", "agent.json",  # of an agent
)  # fmt: skip
HASHES = (
    "model.sha256"  # in a run's folder, as sha256sum writes it: `cd RUN && sha256sum -c model.sha256` checks it too
)
_LINE = re.compile(r"([0-9a-f]{64})  model/(.+)")


@contextmanager
def written_model(folder: Path) -> Iterator[Path]:
    """A folder to write a model's files into, which then takes the place of `folder`; a run's own also gets its hashes.

    Raises OSError, the earlier model intact.
    """
    hashes = ""
    with replaced_whole(folder, MODEL_FILES) as beside:
        yield beside
        for file in sorted(beside.iterdir()):
            hashes += f"{sha256(file)}  model/{file.name}\n"
    if _is_of_a_run(folder):
        write_text(folder.parent / HASHES, hashes)


def standing_model(folder: Path) -> Path:
    """Where a model folder stands: in a run, a kill while it was replaced may have left it under another name."""
    return standing(folder) if _is_of_a_run(folder) else folder


def model_is_whole(run: Path) -> bool:
    """Whether a finished run's model has every file that was written, each with its content."""
    folder = standing(run / "model")
    hashes = _hashes(run)
    if not hashes:  # a run of a time when none were kept
        return _can_be_opened(folder / "model.safetensors")
    return all((folder / name).is_file() and known_sha256(folder / name) == kept for name, kept in hashes.items())


def check_model(folder: Path) -> None:
    """Raises UserError where a file of a run's model is not what the run wrote; any other folder is believed."""
    if folder.name not in ("model", ".model.replaced") or not _is_of_a_run(folder):
        return
    run = folder.parent
    for name, kept in _hashes(run).items():
        file = folder / name
        if not file.is_file():
            raise UserError(f"{file} is gone: {_how_to_mend(run)}")
        if known_sha256(file) != kept:
            raise UserError(
                f"{file} is not what the run wrote (it is damaged, or was changed): {_how_to_mend(run)} "
                f"If the change was meant, copy {folder} to a folder of its own and give that."
            )


def how_to_have_a_model(path: Path) -> str:
    """What a user does about a folder without a model."""
    if verb_of(path) is None:
        return "give a run that is finished (`fledge resume` finishes one), or a folder that has both."
    if not (path / "summary.json").is_file():
        return f"a run has one when it is finished; `fledge resume {path}` finishes it."
    return _how_to_mend(path)


def _how_to_mend(run: Path) -> str:
    checkpoints = run / "checkpoints"
    if checkpoints.is_dir() and any(folder.name.isdigit() for folder in checkpoints.iterdir()):
        return f"`fledge resume {run}` writes the model again from the run's last checkpoint."
    return "no checkpoint of the run is left to write it from, so train it anew, or put the file back."


def _hashes(run: Path) -> dict[str, str]:
    try:
        lines = (run / HASHES).read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return {}
    found = (_LINE.fullmatch(line) for line in lines)
    return {line[2]: line[1] for line in found if line}


def _can_be_opened(weights: Path) -> bool:
    try:
        with safe_open(weights, "pt"):
            return True
    except (FileNotFoundError, SafetensorError):
        return False


def _is_of_a_run(folder: Path) -> bool:
    return verb_of(folder.parent) is not None
