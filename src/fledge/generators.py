"""The random generators that a whole process shares, Python's, numpy's and torch's: seeded, and
their state as plain JSON.

What fledge itself draws comes from generators that it passes along. Code of a user's draws from
these.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def seed_generators(seed: int) -> None:
    """Seeds all of them; numpy and torch, where they are not imported yet, as soon as they are (see
    `follow_imports`).
    """
    random.seed(seed)
    _now_or_on_import("numpy", lambda: _seed_numpy(seed))
    _now_or_on_import("torch", lambda: _torch().manual_seed(seed))


def generator_state() -> dict[str, Any]:
    """The state of those that are imported, made of lists, numbers and text."""
    version, words, gauss = random.getstate()
    state: dict[str, Any] = {"python": [version, list(words), gauss]}
    if "numpy" in sys.modules:
        name, words, place, has_gauss, gauss = _numpy_random().get_state(legacy=True)
        state["numpy"] = [name, words.tolist(), place, has_gauss, gauss]
    if "torch" in sys.modules:
        torch = _torch()
        state["torch"] = torch.get_rng_state().numpy().tobytes().hex()
        if torch.cuda.is_initialized():
            state["cuda"] = [
                each.numpy().tobytes().hex() for each in torch.cuda.get_rng_state_all()
            ]
    return state


def restore_generators(state: Mapping[str, Any]) -> None:
    """What `generator_state` returned. A module that is not imported yet gets its state as soon as
    it is.
    """
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if "numpy" in state:
        name, words, *rest = state["numpy"]
        _now_or_on_import("numpy", lambda: _numpy_random().set_state((name, words, *rest)))
    if "torch" in state:
        _now_or_on_import("torch", lambda: _restore_torch(state))


def follow_imports() -> None:
    """From now on what waits for an import happens right after it: a process of a user's need not
    import torch to be seeded.
    """
    sys.meta_path.insert(0, _Follower())


def _seed_numpy(seed: int) -> None:
    # Its own `seed` takes 32 bits, ours may have 63.
    _numpy_random().seed([seed & 0xFFFFFFFF, seed >> 32])


def _restore_torch(state: Mapping[str, Any]) -> None:
    torch = _torch()

    def tensor(text: str) -> Any:
        return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)

    torch.set_rng_state(tensor(state["torch"]))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([tensor(each) for each in state["cuda"]])


def _numpy_random() -> Any:
    return sys.modules["numpy"].random


def _torch() -> Any:
    return sys.modules["torch"]


_waiting: dict[str, Callable[[], Any]] = {}  # module -> what to do once it is imported


def _now_or_on_import(name: str, action: Callable[[], Any]) -> None:
    if name in sys.modules:
        action()
    else:
        _waiting[name] = action


class _Follower(MetaPathFinder):
    """Finds nothing by itself: it lets the others find a module that is waited for, and has it do
    more when it runs.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _waiting:
            return None
        action = _waiting.pop(fullname)  # before the others are asked: they would ask here again
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            _waiting[fullname] = action
            return spec
        run = spec.loader.exec_module

        def run_and_act(module: ModuleType) -> None:
            run(module)
            action()

        # An attribute of this one loader.
        setattr(spec.loader, "exec_module", run_and_act)  # noqa: B010
        return spec
