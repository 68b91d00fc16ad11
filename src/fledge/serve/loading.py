"""Loads what is served: models, adapters over a base that is held once, reward models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fledge.hub.adapter_folder import find_base, holds_adapter
from fledge.hub.folder import Loaded, find_model, load_any, load_over
from fledge.models.language.adapters import is_adapted
from fledge.models.language.heads import ScalarModel


def load_many(
    paths: Sequence[Path], tell: Callable[[Path], None]
) -> list[tuple[Loaded, ScalarModel | None]]:
    """Each of them, in their order. Adapters of one base share its weights, and with the base where
    that is named too. Raises UserError for what is no model.

    tell: called with each path before it is loaded.
    """
    folders = [find_model(path) for path in paths]
    bases = [
        find_model(find_base(folder).path) if _is_adapter(folder) else None for folder in folders
    ]
    held: dict[Path, tuple[Loaded, ScalarModel | None]] = {}
    loaded: list[tuple[Loaded, ScalarModel | None]] = []
    for path, folder, base in zip(paths, folders, bases, strict=True):
        tell(path)
        wanted = folder if base is None else base
        if _is_alone(wanted, folders, bases):
            loaded.append(load_any(path))
            continue
        if wanted.resolve() not in held:
            held[wanted.resolve()] = load_any(path if base is None else base)
        under, score = held[wanted.resolve()]
        if base is None:
            loaded.append((under, score))
        elif score is not None or is_adapted(under.network):  # an adapter on an adapter
            loaded.append(load_any(path))
        else:
            loaded.append(load_over(path, under))
    return loaded


def _is_adapter(folder: Path) -> bool:
    return folder.is_dir() and holds_adapter(folder)


def _is_alone(wanted: Path, folders: Sequence[Path], bases: Sequence[Path | None]) -> bool:
    """Whether no two of them stand on these weights."""
    users = [base or folder for folder, base in zip(folders, bases, strict=True)]
    return sum(user.resolve() == wanted.resolve() for user in users) < 2
