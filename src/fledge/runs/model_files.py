"""A run's model/ and best/: written whole, with hashes beside them by which damage is noticed when
they are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open

from fledge.errors import UserError
from fledge.next_command import write_command
from fledge.runs.atomic import known_sha256, sha256, write_text
from fledge.runs.lineage import is_of_a_run, verb_of
from fledge.runs.whole_folder import find_place, find_standing, remove_files, replace_whole

GGUF = "model.gguf"
MODEL_FILES = (
    "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    # of another program's tokenizer
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
    "critic.safetensors", "agent.json",  # of an agent
    "adapter_config.json", "adapter_model.safetensors", "fledge_adapter.json",
    GGUF, "model.Modelfile",  # of one in few bits
)  # fmt: skip
WEIGHT_FILES = ("model.safetensors", "adapter_model.safetensors")
_LINE = re.compile(r"([0-9a-f]{64})  [^/]+/(.+)")


def hashes_of(folder: Path) -> Path:
    """Beside a model's folder, as sha256sum writes it: `cd RUN && sha256sum -c model.sha256` checks
    it too.
    """
    place = find_place(folder)
    return place.with_name(f"{place.name}.sha256")


@contextmanager
def write_model(folder: Path) -> Iterator[Path]:
    """A folder to write a model's files into, which then takes the place of `folder`; a run's own
    also gets its hashes.

    Raises OSError, the earlier model intact.
    """
    own, hashes = is_of_a_run(folder), hashes_of(folder)
    lines = ""
    with replace_whole(folder, MODEL_FILES) as beside:
        yield beside
        for file in sorted(beside.iterdir()):
            lines += f"{sha256(file)}  {folder.name}/{file.name}\n"
        if own and (earlier := _text(hashes)):  # a kill on either side of the swap finds its own
            write_text(hashes, earlier + lines)
    if own:
        write_text(hashes, lines)


def remove_model(folder: Path) -> None:
    """A run's model or best agent and its hashes; what others put beside its files stays."""
    hashes_of(folder).unlink(missing_ok=True)
    remove_files(folder, MODEL_FILES)


def find_standing_model(folder: Path) -> Path:
    """Where a model folder stands: in a run, a kill while it was replaced may have left it under
    another name.
    """
    return find_standing(folder) if is_of_a_run(folder) else folder


def model_is_whole(run: Path) -> bool:
    """Whether a finished run's model has every file that was written, each with its content."""
    folder = find_standing(run / "model")
    if not _hashes(folder):  # a run of a time when none were kept
        return any(_can_be_opened(folder / name) for name in WEIGHT_FILES)
    return _first_damage(folder) is None


def best_is_whole(run: Path) -> bool:
    """Whether a run's best agent, if it has one, has every file that was written, each with its
    content.
    """
    return _first_damage(find_standing(run / "best")) is None


def check_model(folder: Path) -> None:
    """Raises UserError where a file of a run's model or best agent is not what the run wrote.

    Any other folder is believed, and so is one of a time when no hashes were kept.
    """
    if not is_of_a_run(find_place(folder)):
        return
    damage = _first_damage(folder)
    if damage is None:
        return
    if not damage.is_file():
        raise UserError(f"{damage} is gone: {_how_to_mend(folder)}")
    agent = (folder / "agent.json").exists()  # which is read from its run alone
    meant = (
        ""
        if agent
        else f" If the change was meant, copy {folder} to a folder of its own and give that."
    )
    raise UserError(
        f"{damage} is not what the run wrote (it is damaged, or was changed): "
        f"{_how_to_mend(folder)}{meant}"
    )


def how_to_have_a_model(path: Path) -> str:
    """What a user does about a folder without a model."""
    verb = verb_of(path)
    if verb == "control":
        return f"it is an agent's run, and `{write_command('play', path)}` shows what it does."
    if verb == "demo":
        return f"it is a demo's, whose models are those of the runs in it: give {path / 'align'}."
    if verb is None:
        return (
            "give a run that is finished (`fledge resume` finishes one), or a folder that has both."
        )
    if not (path / "summary.json").is_file():
        return f"a run has one when it is finished; `{write_command('resume', path)}` finishes it."
    return _how_to_mend(path / "model")


def _how_to_mend(folder: Path) -> str:
    place = find_place(folder)
    run, checkpoints = place.parent, place.parent / "checkpoints"
    saved = checkpoints.is_dir() and any(each.name.isdigit() for each in checkpoints.iterdir())
    if place.name == "best":
        if saved:
            again = write_command("resume", run)
            return f"`{again}` writes it again from the run's last checkpoint."
        return (
            f"put it back from a copy, or remove {place} and {hashes_of(place)} to have the run's "
            "last agent alone: no checkpoint is left to write it from."
        )
    if saved:
        again = write_command("resume", run)
        return f"`{again}` writes the model again from the run's last checkpoint."
    return (
        "no checkpoint of the run is left to write it from, so train it anew, or put the file back."
    )


def _first_damage(folder: Path) -> Path | None:
    """The first file of a run's model that is gone or has another content than its hashes allow."""
    for name, allowed in _hashes(folder).items():
        file = folder / name
        if not file.is_file() or known_sha256(file) not in allowed:
            return file
    return None


def _hashes(folder: Path) -> dict[str, set[str]]:
    """File name to what it may be: one hash, and a second one where a kill came while the folder
    was replaced.
    """
    allowed: dict[str, set[str]] = {}
    for line in _text(hashes_of(folder)).splitlines():
        if match := _LINE.fullmatch(line):
            allowed.setdefault(match[2], set()).add(match[1])
    return allowed


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


def _can_be_opened(weights: Path) -> bool:
    try:
        with safe_open(weights, "pt"):
            return True
    except (FileNotFoundError, SafetensorError):
        return False
