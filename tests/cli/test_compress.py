"""`fledge compress` through the real command line: files that are smaller, figures that are those
of the file, a run that was killed, and one sentence for each mistake.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from tests.cli.commands import Cli, Models

import fledge
from fledge.evaluate.likelihood import measure_likelihood, read_windows
from fledge.hub.folder import load_model
from fledge.text.corpus import Corpus
from fledge.text.encoding import encode_documents

METHODS = {
    "int8": "method=int8 data={text}",
    "int4": "method=int4 data={text}",
    "int4 alone": "method=int4",
    "int4 talks": "method=int4 data={rows} calibration_rows=4",
    "magnitude": "method=magnitude data={text} sparsity=0.3",
    "2:4": "method=magnitude pattern=2:4",
    "structured": "method=structured data={text} sparsity=0.25 kv_groups=1",
}


@pytest.fixture(scope="module")
def made(cli: Cli, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose rows are whole blocks, and what every method makes of it, with its summary."""
    folder = tmp_path_factory.mktemp("smaller")
    words = models.fill(
        "pretrain data={text} tokenizer=bytes layers=2 width=32 heads=4 kv_heads=2 mlp_width=64 "
        "context=64 steps=60 learning_rate=1e-2 tokens_per_step=512 precision=fp32 compile=no"
    )
    assert cli([*words, "out=base"], folder=folder).code == 0
    for name, fields in METHODS.items():
        words = models.fill(f"compress base=base {fields}")
        done = cli([*words, f"out={name.replace(':', ' of ')}"], folder=folder)
        assert done.code == 0, done.stderr
        (folder / f"{name.replace(':', ' of ')}.txt").write_text(done.stdout)
    return folder


def read(made: Path, name: str) -> dict[str, Any]:
    return json.loads((made / name / "summary.json").read_text())


def weights(run: Path) -> Mapping[str, np.ndarray]:
    return load_file(run / "model" / "model.safetensors")


def test_files_are_smaller_and_what_was_lost_is_bounded(made: Path) -> None:
    base = (made / "base" / "model" / "model.safetensors").stat().st_size
    for name in ("int8", "int4", "int4 talks", "structured", "magnitude"):
        summary = read(made, name)
        before, after = summary["before"], summary["after"]
        assert before["file_bytes"] == base
        [file] = [each for each in (made / name / "model").iterdir()
                  if each.suffix in (".gguf", ".safetensors")]  # fmt: skip
        assert after["file_bytes"] == file.stat().st_size
        rise = summary["loss_rise"]
        assert rise == pytest.approx(after["loss"] - before["loss"], abs=1e-9)
        assert abs(rise) <= summary["loss_rise_bound"]
        assert summary["probability_change_bound"] ** 2 * 2 == pytest.approx(summary["base_kl"])
    sizes = {name: read(made, name)["after"]["file_bytes"] for name in ("int8", "int4")}
    assert sizes["int4"] < sizes["int8"] < 0.6 * base
    assert read(made, "structured")["after"]["file_bytes"] < 0.85 * base
    assert abs(read(made, "int8")["loss_rise"]) < 0.01
    for name in ("int8", "int4"):
        assert 0 < read(made, name)["worst_error"] < 0.02
        assert "bits per byte" in (made / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", ["int8", "int4", "magnitude", "structured"])
def test_the_figures_are_those_of_the_file(name: str, made: Path, models: Models) -> None:
    model = load_model(made / name)
    test = (document for _, document in Corpus(str(models.folder / "text.txt")).split("test"))
    said = [ids for _, ids, _ in encode_documents(((None, d) for d in test), model.tokenizer)]
    stream: Any = np.concatenate(said).astype(np.int64)
    windows = read_windows(stream, 64, 32, model.tokenizer.begin)
    measured = measure_likelihood(model.policy(), windows, model.tokenizer)
    after = read(made, name)["after"]
    assert after["bits_per_byte"] == pytest.approx(measured.bits_per_byte, rel=1e-5)
    assert after["loss"] == pytest.approx(measured.nats_per_token, rel=1e-5)


def test_the_smallest_weights_are_zero_and_the_others_as_they_were(made: Path) -> None:
    base, zeros = weights(made / "base"), 0
    for name, share in (("magnitude", 0.3), ("2 of 4", 0.5)):
        pruned = weights(made / name)
        for tensor, whole in base.items():
            matrix = whole.ndim == 2 and "layers" in tensor
            kept = pruned[tensor] != 0
            assert np.array_equal(pruned[tensor][kept], whole[kept])
            if not matrix:
                assert np.array_equal(pruned[tensor], whole)
                continue
            gone = whole.size - kept.sum()
            zeros += gone * (name == "magnitude")
            assert gone == int(share * whole.size)
            if name == "magnitude":
                assert np.abs(whole[~kept]).max() <= np.abs(whole[kept]).min()
            else:
                assert set(kept.reshape(-1, 4).sum(1)) == {2}
    assert read(made, "magnitude")["zeros"] == zeros
    assert "no smaller for them" in (made / "magnitude.txt").read_text()


@pytest.mark.slow  # for the import of transformers
def test_a_model_with_parts_cut_out_is_one_of_its_family(made: Path) -> None:
    transformers: Any = pytest.importorskip("transformers")
    ours = load_model(made / "structured").network
    assert (ours.config.heads, ours.config.kv_heads, ours.config.mlp_width) == (2, 1, 48)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(made / "structured" / "model")
    tokens = torch.arange(20, 60)[None]
    with torch.no_grad():
        said = ours(tokens) @ ours.unembedding.T
        torch.testing.assert_close(said, theirs(tokens).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["int4", pytest.param("structured", marks=pytest.mark.slow)])
def test_whatever_opens_a_model_opens_it(
    name: str, made: Path, cli: Cli, models: Models, tmp_path: Path
) -> None:
    base = f"base={made / name}"
    fast = "precision=fp32 compile=no"
    for command in (
        f"sample {base} prompt=the max_new_tokens=4",
        f"evaluate {base} data={{text}}",
        f"tune {base} data={{rows}} steps=2 rows_per_step=4 {fast} out=tuned",
        f"tune {base} data={{rows}} steps=2 rows_per_step=4 adapter=lora {fast} out=adapted",
        "sample base=adapted prompt=the max_new_tokens=4",
        f"distill teacher={made / 'base'} student={made / name} data={{text}} steps=2 "
        f"rows_per_step=4 {fast} out=distilled",
        f"compress {base} method=int8 out=again",
        f"export run={made / name} format=gguf weights=q8_0 out=out.gguf",
        f"export run={made / name} format=hf weights=f16 out=folder",
        f"report run={made / name} out=page.html",
        f"tokenizer show tokenizer={made / name} text=the",
    ):
        done = cli(models.fill(command), folder=tmp_path)
        assert done.code == 0, (command, done.stderr)
    lineage = json.loads((tmp_path / "tuned" / "lineage.json").read_text())
    assert lineage["parents"][0]["path"].endswith(name)
    [file] = [each for each in (made / name / "model").iterdir()
              if each.suffix in (".gguf", ".safetensors")]  # fmt: skip
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest in json.dumps(lineage["parents"])
    page = (tmp_path / "page.html").read_text()
    assert "A model is made smaller" in page
    assert "bits per byte" in page


def test_lineage_says_what_was_made_smaller_and_how(made: Path) -> None:
    lineage = json.loads((made / "int4" / "lineage.json").read_text())
    [parent] = lineage["parents"]
    assert Path(parent["path"]).name == "base"
    config = json.loads((made / "int4" / "config.json").read_text())
    assert config["config"]["method"] == "int4"


def test_a_run_that_was_killed_begins_again_and_ends_with_the_same_bits(
    made: Path, cli: Cli, models: Models, tmp_path: Path
) -> None:
    words = models.fill(f"compress base={made / 'base'} {METHODS['int4']} out=run")
    killed = cli(
        words, folder=tmp_path, signal=signal.SIGKILL, once=tmp_path / "run" / "config.json"
    )
    assert killed.code == -signal.SIGKILL
    assert not (tmp_path / "run" / "summary.json").exists()
    resumed = cli("resume run", folder=tmp_path)
    assert resumed.code == 0, resumed.stderr
    for file in ("model/model.gguf", "metrics.jsonl"):
        assert (tmp_path / "run" / file).read_bytes() == (made / "int4" / file).read_bytes()
    (tmp_path / "run" / "model" / "model.gguf").write_bytes(b"GGUF")
    assert "is not what the run wrote" in cli("sample run", folder=tmp_path).complaint
    assert "from_start=true" in cli("resume run", folder=tmp_path).complaint
    assert cli("resume run from_start=true", folder=tmp_path).code == 0
    assert load_model(tmp_path / "run").network.config.layers == 2


def test_from_python(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [f"the cat sat on mat {number}." for number in range(200)]
    run = fledge.compress(fledge.load(made / "base"), texts, method="int8")
    assert run.summary["after"]["bits_per_byte"] > 0
    assert isinstance(run.model.generate("the", max_new_tokens=3), str)
    assert run.verb == "compress"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ("", "needs base=…"),
        ("base=nowhere", "nowhere does not exist"),
        ("base=base method=structured", "give data=FILE"),
        ("base=base rounding=gptq", "give data=FILE"),
        ("base=base sparsity=0.5", "sparsity is of method=magnitude and method=structured"),
        ("base=base method=magnitude kv_groups=1", "kv_groups is of method=structured"),
        ("base=base method=magnitude pattern=2:4 sparsity=0.4", "leave out sparsity"),
        ("base=base method=structured data={text} kv_groups=2", "one or more must stay"),
        ("base=base method=structured data={text} sparsity=1", "sparsity"),
        ("base=base data=nowhere.txt", "nowhere.txt"),
        ("base=base method=int5", "int4"),
    ],
)
def test_mistakes_are_one_sentence(
    fields: str, says: str, made: Path, cli: Cli, models: Models
) -> None:
    done = cli([*models.fill(f"compress {fields}"), "out=none"], folder=made)
    assert says in done.complaint
    assert not (made / "none").exists()
