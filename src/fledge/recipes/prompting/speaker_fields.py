"""The fields of a recipe that asks a model, ours or one behind an endpoint."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from fledge.engine.generation import Generation
from fledge.errors import UserError
from fledge.prompting.endpoint import EndpointSpeaker
from fledge.prompting.own import OwnSpeaker
from fledge.prompting.speaker import Speaker
from fledge.recipes.family_field import FamilyField
from fledge.recipes.look.sound_model import load_sound_model


class SpeakerFields(FamilyField):
    """Who is asked."""

    base: str = Field(
        description="the run or model folder to ask, or the URL of an OpenAI-compatible endpoint"
    )
    served_model: str | None = Field(
        default=None, description="as the endpoint calls it; by default the only one it serves"
    )
    precision: Generation = Field(default="fp32", description="of the weights as they generate")
    seed: int = Field(default=0, ge=0, description="of every draw")

    @property
    def asks_endpoint(self) -> bool:
        return self.base.startswith(("http://", "https://"))

    def open_speaker(self) -> Speaker:
        """Raises UserError for what is no model, and where no endpoint answers."""
        if self.asks_endpoint:
            if self.precision != "fp32":
                raise UserError(
                    f"precision={self.precision} was given with {self.base}, which generates in "
                    "its own: leave it out."
                )
            return EndpointSpeaker(self.base, self.served_model)
        if self.served_model is not None:
            raise UserError(
                f"served_model={self.served_model} was given and {self.base} is a folder: leave "
                "it out, or give the URL of an endpoint."
            )
        self.use_family()
        return OwnSpeaker(load_sound_model(Path(self.base)), self.precision)
