"""What a drawing earns, with judges of whom one is known to see the brightest corner."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from fledge.errors import UserError
from fledge.images.code_text import spell_codes
from fledge.images.pictures import PictureShape
from fledge.models.images.picture_model import save_picture_model
from fledge.models.images.reader import Reader, count_right, load_reader
from fledge.models.images.vq import VQ
from fledge.score.drawings import JUDGES, WITNESS, Drawings

SHAPE = PictureShape(1, 1, 2, 2, ("left", "right"))
SETTINGS = {
    "quantiser": "nearest", "codes": 3, "code_width": 1, "levels": [3], "halvings": 0,
    "channels": 1, "blocks": 0, "prior_layers": 1, "prior_width": 8, "prior_heads": 2,
}  # fmt: skip


class Bright(Reader):
    """log p(label) by the ink of its pixel: e³ times as likely where the other has none."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (3.0 * x.flatten(1).float()).log_softmax(1)


class Even(Reader):
    """Cannot tell, and names the first: of either label it is half sure."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), 2).log_softmax(1)


@pytest.fixture
def drawings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drawings:
    torch.manual_seed(0)
    readers = {name: Reader(SHAPE, {"channels": 4}) for name in (*JUDGES, WITNESS)}
    for name, model in {"vq": VQ(SHAPE, SETTINGS), **readers}.items():
        (tmp_path / name).mkdir()
        save_picture_model(tmp_path / name, model)
    rows = [{"prompt": f"draw {name}", "label": name} for name in SHAPE.names]
    rows.append({"prompt": "what is it?", "answer": "a left"})
    (tmp_path / "draw.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawings = Drawings(tmp_path)
    drawings.judges = [Bright(SHAPE, {"channels": 4})]
    drawings.witness = Bright(SHAPE, {"channels": 4})
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
    assert drawings.prompts() == ["draw left", "draw right", "what is it?"]


def test_the_judge_who_doubts_most_decides_and_the_witness_never(drawings: Drawings) -> None:
    drawings.judges = [Bright(SHAPE, {"channels": 4}), Even(SHAPE, {"channels": 4})]
    drawings.witness = Even(SHAPE, {"channels": 4})
    asked = ["draw left", "draw right", "draw right"]
    said = [spell_codes(codes) for codes in ([1, 2], [0, 1], [1, 2])]
    doubtful = 0.5 / (1 + float(torch.tensor(3.0).exp()))
    assert drawings.scores(asked, said) == pytest.approx([1, 0.25, doubtful])


def test_an_answer_earns_one_where_it_is_the_answer(drawings: Drawings) -> None:
    picture = spell_codes([1, 2])
    asked = ["what is it?", "draw left", "what is it?", "what is it?", "draw left"]
    said = [" a left\n", picture, "a right", picture, "a left"]
    assert drawings.scores(asked, said) == [1, 1, 0, 0, 0]


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


def test_a_folder_that_lacks_a_reader_is_refused(drawings: Drawings, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / WITNESS)
    with pytest.raises(UserError, match=r"has no witness/.* write it again"):
        Drawings(tmp_path)
