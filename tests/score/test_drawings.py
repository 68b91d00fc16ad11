"""What a drawing earns, with a reader that is known to see the brightest corner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.images.code_text import spell_codes
from fledge.images.pictures import PictureShape
from fledge.models.images.picture_model import save_picture_model
from fledge.models.images.reader import Reader, count_right, load_reader
from fledge.models.images.vq import VQ
from fledge.score.drawings import Drawings

SHAPE = PictureShape(1, 1, 2, 2, ("left", "right"))
SETTINGS = {
    "quantiser": "nearest", "codes": 3, "code_width": 1, "levels": [3], "halvings": 0,
    "channels": 1, "blocks": 0, "prior_layers": 1, "prior_width": 8, "prior_heads": 2,
}  # fmt: skip


class Bright(Reader):
    """log p(label) by the ink of its pixel: e³ times as likely where the other has none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (3.0 * x.flatten(1).float()).log_softmax(1)


@pytest.fixture
def drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawings:
    torch.manual_seed(0)
    for name, model in (("vq", VQ(SHAPE, SETTINGS)), ("reader", Reader(SHAPE, {"channels": 4}))):
        (tmp_path / name).mkdir()
        save_picture_model(tmp_path / name, model)
    rows = [{"prompt": f"draw {name}", "label": name} for name in SHAPE.names]
    (tmp_path / "draw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawings = Drawings(tmp_path)
    drawings.reader = Bright(SHAPE, {"channels": 4})
    # Code 1 is ink, 0 and 2 are none.
    monkeypatch.setattr(VQ, "settle", lambda self, codes: (codes == 1).view(-1, 1, 1, 2).byte())
    return drawings


def test_a_drawing_earns_one_where_it_is_read_as_asked_and_less_than_a_half_elsewhere(
    drawings: Drawings,
) -> None:
    left, right, both = (spell_codes(codes) for codes in ([1, 2], [0, 1], [1, 1]))
    asked = ["draw left", "draw left", "draw right", "draw right", "draw right", "draw left"]
    said = [left, right, f"here: {right}!", both, "no picture", ""]
    e3 = float(torch.tensor(3.0).exp())
    assert drawings.scores(asked, said) == pytest.approx([1, 0.5 / (1 + e3), 1, 0.25, 0, 0])
    assert drawings.scores(asked[:1], [""]) == [0]
    assert drawings.prompts() == ["draw left", "draw right"]


def test_drawn_pictures_are_named_and_whose_they_are(drawings: Drawings) -> None:
    drawn, owners = drawings.draw(["nothing", spell_codes([0, 1]), spell_codes([1, 0])])
    assert owners == [1, 2]
    assert drawn.flatten(1).tolist() == [[0, 1], [1, 0]]
    assert drawings.name(drawn) == ["right", "left"]
    assert drawings.draw(["nothing"])[1] == []


def test_a_reader_is_read_as_it_was_written(tmp_path: Path) -> None:
    torch.manual_seed(1)
    reader = Reader(PictureShape(1, 8, 8, 17, ("a", "b", "c")), {"channels": 4}).eval()
    save_picture_model(tmp_path, reader)
    x = torch.randint(17, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    again = load_reader(tmp_path)
    assert torch.equal(again(x), reader(x))
    assert torch.allclose(reader(x).exp().sum(1), torch.ones(6), atol=1e-5)
    label = reader(x).argmax(1)
    label[0] = (label[0] + 1) % 3
    assert count_right(reader, x, label) == pytest.approx(5 / 6)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give a folder that `fledge spell` has written"):
        Drawings(tmp_path)
