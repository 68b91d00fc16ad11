"""The field `algorithm` of a verb, and the verb's fields with those of the algorithm chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from fledge.algorithms.registry import Entry, Subject, find_entry, names_of
from fledge.algorithms.settings import AlgorithmSettings, fields_of
from fledge.errors import UserError


class AlgorithmFields(BaseModel):
    """Of a verb that lets its user choose an algorithm; `subject` says among which."""

    subject: ClassVar[Subject]
    algorithm: str

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[Self]:
        """The verb's fields and those of the algorithm that is given, else of the usual one.

        Raises UserError for an algorithm that there is not.
        """
        algorithm = str(given.get("algorithm", cls.model_fields["algorithm"].default))
        usual = find_entry(cls.subject, algorithm).settings(cls.subject)
        fields: dict[str, Any] = dict(fields_of(usual))
        for name in sorted(fields.keys() & cls.model_fields.keys()):
            raise UserError(
                f"algorithm={algorithm} has a setting `{name}`, and the verb has a field of that "
                "name: give the setting another."
            )
        chosen = FieldInfo.merge_field_infos(cls.model_fields["algorithm"], default=algorithm)
        named: dict[str, Any] = {"algorithm": (str, chosen)}
        return create_model(f"{cls.__name__} of {algorithm}", __base__=cls, **named, **fields)

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Raises pydantic's ValidationError for a value that cannot be, or a field that neither
        has.
        """
        return cls.compose(given).model_validate(given)

    @property
    def entry(self) -> Entry:
        return find_entry(self.subject, self.algorithm)

    @property
    def settings(self) -> AlgorithmSettings:
        """The algorithm's own fields, with what was given."""
        usual = self.entry.settings(self.subject)
        given = {name: getattr(self, name) for name in fields_of(usual) if hasattr(self, name)}
        return usual.replace(**given)


def whose_setting(subject: Subject, name: str) -> list[str]:
    """The algorithms that have such a setting."""
    entries = ((each, find_entry(subject, each)) for each in names_of(subject))
    return [each for each, entry in entries if name in fields_of(entry.settings(subject))]
