"""What every model of sentences by vectors can be asked, and how it is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fledge.errors import UserError
from fledge.json_file import read_json
from fledge.models.language.sentence_coder import Alphabet, SentenceCoder
from fledge.runs.atomic import write_text
from fledge.tensor_file import write_tensors
from fledge.text.sentences import SentenceRows, encode_sentences
from fledge.text.tokenizer import Tokenizer, load_tokenizer


class SentenceModel(nn.Module):
    """A subclass says its `name`, is made of `settings` that JSON can hold, and adds how a sentence
    becomes a vector and how likely vectors are.
    """

    name: ClassVar[str]
    measure: ClassVar[Literal["bound"]] = "bound"  # what `nats` is of −log p(x)

    def __init__(self, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
        super().__init__()
        end = tokenizer.end
        if end is None:
            raise UserError("the tokenizer has no token that ends a text: give another.")
        self.tokenizer, self.settings = tokenizer, dict(settings)
        self.latents: int = self.settings["latents"]
        alphabet = Alphabet(tokenizer.vocab_size, tokenizer.opening[-1], end)
        self.coder = SentenceCoder(alphabet, self.settings)

    def encode(self, rows: SentenceRows) -> Tensor:
        """The vector of each sentence, with nothing drawn.  -> [B, Z]"""
        raise NotImplementedError

    def nats(self, rows: SentenceRows, generator: torch.Generator) -> Tensor:
        """Not less, in expectation, than −log p(x) of each sentence.  -> [B]"""
        raise NotImplementedError

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Vectors out of the prior.  -> [count, Z]"""
        raise NotImplementedError

    def vary(self, z: Tensor, noise: float, generator: torch.Generator) -> Tensor:
        """Vectors near others; noise: 0 leaves them, 1 forgets them.  [B, Z] -> [B, Z]"""
        raise NotImplementedError

    def settle(self, z: Tensor) -> Tensor:
        """The nearest place where vectors of sentences can lie.  [B, Z] -> [B, Z]"""
        return z

    def between(self, first: Tensor, second: Tensor, steps: int) -> Tensor:
        """z = λ z₁ + (1 − λ) z₂ from λ = 1 to 0 (Bowman et al. 2016, §5.1), settled.  [Z] twice ->
        [steps, Z]
        """
        share = torch.linspace(1, 0, steps, device=first.device)[:, None]
        return self.settle(share * first + (1 - share) * second)

    def say(
        self, z: Tensor, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> list[str]:
        """A sentence for each vector, at 0 of the likeliest tokens.  [B, Z]"""
        sayable = torch.from_numpy(self.tokenizer.sayable).to(z.device)
        written = self.coder.write(z, sayable, temperature, generator or torch.Generator())
        return [self.tokenizer.decode(ids) for ids in written]

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator, temperature: float = 1.0) -> list[str]:
        """Sentences out of the prior; at temperature 1 they are of the model's own
        distribution.
        """
        return self.say(self.draw(count, generator), temperature, generator)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """The vector of each text.  -> [N, Z]. Raises UserError for one that is too long."""
        return self.encode(self.rows_of(texts, "the given texts"))

    def rows_of(self, texts: Sequence[str], source: str) -> SentenceRows:
        """Raises UserError as `encode_sentences`."""
        longest = self.settings["longest"]
        return encode_sentences(texts, self.tokenizer, longest, source).to(self.device)

    @property
    def device(self) -> torch.device:
        return self.coder.to_state.weight.device

    def count_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters())


def find_sentence_kinds() -> dict[str, type[SentenceModel]]:
    """Every kind by its name."""
    from fledge.models.language.text_diffusion import TextDiffusion
    from fledge.models.language.text_vae import TextVAE

    kinds: tuple[type[SentenceModel], ...] = (TextVAE, TextDiffusion)
    return {kind.name: kind for kind in kinds}


def save_sentence_model(folder: Path, model: SentenceModel) -> None:
    """config.json, model.safetensors and the tokenizer's files."""
    card = {"model": model.name, "sentences": True, "settings": model.settings}
    model.tokenizer.save(folder)
    write_text(folder / "config.json", json.dumps(card, indent=2) + "\n")
    tensors = {name: x.detach().contiguous() for name, x in model.state_dict().items()}
    write_tensors(folder / "model.safetensors", tensors)


def is_sentence_model(folder: Path) -> bool:
    """Whether a model folder holds one, by its config.json."""
    try:
        card = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(card, dict) and card.get("sentences") is True


def load_sentence_model(folder: Path) -> SentenceModel:
    """Ready to be asked.  Raises UserError for a folder that holds none."""
    card = read_json(folder / "config.json", dict[str, Any], mend="train the model again")
    tokenizer = load_tokenizer(folder)
    try:
        model = find_sentence_kinds()[card["model"]](tokenizer, card["settings"])
        model.load_state_dict(load_file(folder / "model.safetensors"))
    except (KeyError, SafetensorError, OSError, TypeError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{folder} holds no model of sentences ({error}): train it again, or give another."
        ) from error
    return model.eval()
