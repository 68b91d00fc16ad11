"""A model of one's own as a speaker: the engine, with its prefix cache for what prompts share."""

from __future__ import annotations

from collections.abc import Sequence

from fledge.engine.constraint import Constraint
from fledge.engine.engine import Engine
from fledge.engine.generation import Generation
from fledge.engine.request import Request
from fledge.engine.stop_strings import cut
from fledge.engine.structures import choice, json_schema
from fledge.engine.vocabulary import vocabulary_of
from fledge.errors import UserError
from fledge.hub.folder import Loaded
from fledge.log_prob import Decoding
from fledge.prompting.speaker import Prompt, Saying
from fledge.text.chat import render

SLOTS = 16
POSITIONS = 4096  # of a slot, where the model's context is longer
CACHE_BYTES = 2_000_000_000


class OwnSpeaker:
    """Prompts that begin alike are read once: demonstrations, a persona, a long question."""

    def __init__(self, loaded: Loaded, precision: Generation = "fp32") -> None:
        self.loaded, self.name = loaded, str(loaded.folder)
        rows = loaded.network.config.vocab_size
        known = loaded.tokenizer.vocabulary[:rows]
        self.engine = Engine(
            loaded.policy(),
            slots=SLOTS,
            positions=min(loaded.network.config.context, POSITIONS),
            cache_bytes=CACHE_BYTES,
            precision=precision,
            vocabulary=known + [b""] * (rows - len(known)),
            prefix_cache_rows=4,
        )

    def say(self, prompts: Sequence[Prompt], saying: Saying) -> list[str]:
        """Raises UserError for a prompt that leaves no room in the context."""
        tokenizer, constraint = self.loaded.tokenizer, self._constrain(saying)
        requests = [
            Request(
                self._encode(prompt),
                saying.max_new_tokens,
                rule=Decoding(saying.temperature),
                stop=tokenizer.ends,
                stop_strings=saying.stop,
                constraint=constraint,
                seed=saying.seed,
                sample=place,
            )
            for place, prompt in enumerate(prompts)
        ]
        # What the first leaves in the prefix cache the others go on from.
        completions = [*self.engine.run(requests[:1]), *self.engine.run(requests[1:])]
        texts = list[str]()
        for one in completions:
            if one.error is not None:
                raise UserError(one.error)
            said = tokenizer.decode_bytes(one.tokens)
            texts.append(cut(said, saying.stop).decode("utf-8", errors="replace").strip())
        return texts

    def _encode(self, prompt: Prompt) -> list[int]:
        tokenizer = self.loaded.tokenizer
        if isinstance(prompt, str):
            return tokenizer.open_text(prompt) or [*tokenizer.opening]
        return render(tokenizer, prompt, reply=True)[0]

    def _constrain(self, saying: Saying) -> Constraint | None:
        tokenizer = self.loaded.tokenizer
        if saying.choices:
            return choice(saying.choices, vocabulary_of(tokenizer), tokenizer.ends)
        if saying.json_schema is not None:
            return json_schema(saying.json_schema, vocabulary_of(tokenizer), tokenizer.ends)
        return None
