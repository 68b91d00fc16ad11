"""The best agent so far of a run of `fledge control`: in best/, and in every checkpoint, from which
it is written again where best/ is damaged or lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fledge.errors import UserError
from fledge.recipes.control.agent_files import WEIGHTS, Card, read_card
from fledge.runs.folder import Run
from fledge.runs.mended_log import set_aside
from fledge.runs.model_files import MODEL_FILES, check_model, hashes_of, write_model
from fledge.runs.whole_folder import recover


class BestAgent:
    """Whoever keeps an agent writes best/; what stands there is the best one, whatever a checkpoint
    says: it may be of another way, on which the run went on from before.
    """

    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.run, self.folder, self.say = run, run.folder / "best", say
        self.saved: dict[str, Tensor] = {}  # each file's bytes, as the checkpoint had them

    def find(self) -> tuple[Path, Card] | None:
        """The folder and card, None where there is none.

        Damaged files are moved aside, `say` hears of it, and those of the checkpoint take their
        place; without any the run goes on without. Raises UserError where it is finished.
        """
        recover(self.folder, MODEL_FILES)
        had_one = (self.folder / WEIGHTS).is_file() or hashes_of(self.folder).exists()
        if had_one:
            try:
                check_model(self.folder)
                card = read_card(self.folder)
                if card is not None:
                    return self.folder, card
            except UserError:
                pass  # said below, with what became of it
        if had_one and not self.saved and self.run.kept_summary is not None:
            raise UserError(
                f"{self.folder} is damaged or lost, and the run's last checkpoint does not hold it "
                f"(an earlier version saved it): put it back from a copy, or remove {self.folder} "
                f"and {hashes_of(self.folder)} to have the run's last agent alone."
            )
        if had_one:
            kept = (
                f", and kept as {set_aside(self.folder, 'damaged')}" if self.folder.is_dir() else ""
            )
            hashes_of(self.folder).unlink(missing_ok=True)
            goes_on = (
                "it is written again from the checkpoint"
                if self.saved
                else "the run goes on without the best agent so far"
            )
            self.say(f"{self.folder} is damaged or lost{kept}: {goes_on}")
        if not self.saved:
            return None
        with write_model(self.folder) as beside:
            for name, content in self.saved.items():
                (beside / name).write_bytes(content.numpy().tobytes())
        card = read_card(self.folder)
        assert card is not None
        return self.folder, card

    def state_dict(self) -> dict[str, Any]:
        if self.find() is None:
            return {}
        files = [self.folder / name for name in MODEL_FILES]
        return {
            file.name: torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)
            for file in files
            if file.is_file()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.saved = dict(state)
