"""Word vectors by real command lines: learned, asked, exported, killed and resumed; as features
beside a language model's layers; and what cannot be done is said.
"""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
from tests.cli.commands import ENCODER, Cli, Models, outcome

LEARN = "vectors data={text} dims=12 min_count=2 seed=3"
KINDS = [
    "model=skipgram subwords=true buckets=500",
    "model=cbow objective=hierarchical learning_rate=0.3",
    "model=glove x_max=10",
]


@pytest.mark.parametrize("kind", KINDS)
def test_learned_asked_and_exported(kind: str, cli: Cli, models: Models, tmp_path: Path) -> None:
    def call(words: str) -> str:
        done = cli(models.fill(words), folder=tmp_path)
        assert done.code == 0, done.stderr
        return done.stdout

    said = call(f"{LEARN} {kind} epochs=6 out=run")
    assert "16 words in 12 numbers each" in said
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    [figure] = summary["after"]
    # The text's words are drawn evenly: a tree knows all there is to know before it begins.
    assert summary["after"][figure] < summary["before"][figure] * (1.001 if "cbow" in kind else 1)
    near = json.loads(call("vectors run=run near=Cat count=3 --json"))["near"]
    assert len(near) == 3
    assert all(-1 <= one["cosine"] <= 1 for one in near)
    call("export run=run out=v.bin")
    again = json.loads(call("vectors run=v.bin near=cat count=3 --json"))["near"]
    assert again == near
    assert "<svg" in (tmp_path / "run/map.svg").read_text()
    call("report run")
    assert "A map of words" in (tmp_path / "run/report.html").read_text()
    if "subwords" in kind:
        call("vectors run=run near=hillside")


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]])
def test_killed_and_resumed_it_ends_with_the_same_bits(
    kind: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = f"{LEARN} {kind} epochs=20 save_every_s=0"
    assert cli(models.fill(f"{words} out=whole"), folder=tmp_path).code == 0
    log = tmp_path / "killed" / "metrics.jsonl"
    done = cli(models.fill(f"{words} out=killed"), folder=tmp_path, signal=signal.SIGKILL, once=log)
    assert done.code == -signal.SIGKILL
    assert cli("resume killed", folder=tmp_path).code == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")


def test_similarity_and_analogy_and_the_newest_run(
    cli: Cli, models: Models, tmp_path: Path
) -> None:
    for _ in range(2):
        assert cli(models.fill(f"{LEARN} epochs=1"), folder=tmp_path).code == 0
    (tmp_path / "pairs.tsv").write_text("# of nobody\ncat\tmat\t9\nold\tsang\t3.5\ncat\tyeti\t1\n")
    done = cli("vectors similarity=pairs.tsv analogy=cat:mat::old:? --json", folder=tmp_path)
    assert done.result["run"] == "runs/vectors-2"
    assert done.result["similarity"]["pairs"] == 2
    assert abs(done.result["similarity"]["spearman"]) == pytest.approx(1)
    assert not {"cat", "mat", "old"} & {one["word"] for one in done.result["analogy"]}


def test_features_of_texts(cli: Cli, models: Models, tmp_path: Path) -> None:
    """The label is a word's own: words tell it, and so do vectors of them, and layers."""
    draw = random.Random(2)
    lines = []
    for n in range(240):
        tells = draw.choice(["green", "seven"])
        words = [*draw.choices(["the", "cat", "sat", "hills", "mat"], k=4), tells, str(n)]
        draw.shuffle(words)
        lines.append(json.dumps({"text": " ".join(words), "label": tells}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert cli(models.fill(f"{LEARN} epochs=3 out=run"), folder=tmp_path).code == 0
    lstm = "pretrain data={text} tokenizer=bytes architecture=lstm layers=2 width=24 context=64"
    lstm += " steps=4 tokens_per_step=512 evaluation_rows=4 precision=fp32 compile=no out=lstm"
    assert cli(models.fill(lstm), folder=tmp_path).code == 0
    shares = {}
    assert cli([*models.fill(ENCODER), "out=bert"], folder=tmp_path).code == 0
    for base in ("lstm", str(models.folder / "pretrain"), "bert"):
        ask = ["vectors", "run=run", "classify=rows.jsonl", f"contextual={base}", "--json"]
        shares = cli(ask, folder=tmp_path).result["classify"]
        assert list(shares) == [
            "words", "vectors", "last layer", "layers, weighted", "vectors and layers",
        ]  # fmt: skip
        assert shares["words"]["test"] == shares["vectors"]["test"] == 1
        assert min(one["test"] for one in shares.values()) > 0.6
        assert "layer 0" in shares["layers, weighted"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("vectors", "no text was given and nothing was asked"),
        ("vectors near=cat", "there is no finished run of `fledge vectors` in runs/"),
        (f"{LEARN} near=cat", "data, dims, min_count, seed: of a training"),
        (f"{LEARN} run=runs/other", "run: of vectors that are there"),
        (f"{LEARN} x_max=3", "x_max: of glove, and model=skipgram"),
        (f"{LEARN} model=glove negatives=3", "negatives: of skipgram and cbow"),
        (f"{LEARN} buckets=3", "buckets: of subwords=true"),
        (f"{LEARN} objective=hierarchical negatives=3", "negatives= is of objective=negative"),
        (f"{LEARN} subwords=true shortest_ngram=5 longest_ngram=4", "give a smaller one"),
        ("vectors data={text} min_count=100000", "has 0 words that stand in it 100000 times"),
        ("vectors run={pretrain} near=cat", "holds no word vectors"),
        ("vectors run={text}x near=cat", "neither a run of `fledge vectors` nor a file"),
        ("export run={pretrain} format=word2vec out=v.vec", "is of a run of `fledge vectors`"),
    ],
)
def test_what_cannot_be_done(
    words: str, sentence: str, cli: Cli, models: Models, tmp_path: Path
) -> None:
    done = cli(models.fill(words), folder=tmp_path)
    assert sentence in done.complaint


def test_questions_that_cannot_be_answered(cli: Cli, models: Models, tmp_path: Path) -> None:
    assert cli(models.fill(f"{LEARN} epochs=1 out=run"), folder=tmp_path).code == 0
    (tmp_path / "bad.csv").write_text("a,b,c\ncat,mat\n")
    (tmp_path / "far.csv").write_text("x,y,1\nu,v,2\n")
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": "b"}\n')
    for words, sentence in {
        "near=yeti": "'yeti' is none of the 16 words",
        "analogy=cat:mat": "give it as man:king::woman:?",
        "similarity=bad.csv": "is not two words and a score",
        "similarity=far.csv": "of 2 pairs in far.csv 0 have vectors",
        "similarity=none.csv": "cannot be read",
        "classify=rows.jsonl": "20 texts and 2 labels are needed",
        "near=cat contextual=lstm": "contextual= is of classify=FILE",
        "near=cat dims=3": "dims: of a training",
    }.items():
        assert sentence in cli(["vectors", "run=run", *words.split()], folder=tmp_path).complaint
    for words in ("export run=run format=gguf", "sample base=run"):
        assert "has word vectors" in cli(words, folder=tmp_path).complaint
    assert (
        "must be the name of a .bin" in cli("export run=run out=v.csv", folder=tmp_path).complaint
    )
