"""The table of docs/real-models.md says what the families are and what runs them."""

from __future__ import annotations

import re
from pathlib import Path

from fledge.engine.forms import make_form
from fledge.engine.generation import GenerationTransformer
from fledge.hub.families import OF_OTHERS
from fledge.hub.folder import load_model
from tests.hub.foreign import VARIANTS
from tests.hub.test_foreign_models import save_family

PAGE = Path(__file__).parents[2] / "docs" / "real-models.md"
ROW = re.compile(r"\| [^|]+ \| `(\w+)` \| [^|]+ \| (\w+) \| (\w+) \| (\w+) \|")


def test_every_family_has_a_row_and_every_row_is_true(tmp_path: Path) -> None:
    said = {
        row[1]: row.groups()[1:]
        for row in ROW.finditer(PAGE.read_text().split("## Families", 1)[1].split("|---", 1)[1])
    }
    assert list(said) == [family.model_type for family in OF_OTHERS]
    for model_type, (read, written, engine) in said.items():
        # Both are held by tests/hub/test_every_family.py, whose variants these are.
        assert (read, written) == ("yes", "yes")
        assert model_type in dict(VARIANTS)
        network = load_model(save_family(model_type, tmp_path / model_type)).network
        fast = isinstance(make_form(network), GenerationTransformer)
        assert engine == ("fast" if fast else "slow")
