"""The field `algorithm` of a verb (of `fit`: `model`), and the verb's fields with those of the
algorithm chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ValidationError, create_model, model_validator
from pydantic.fields import FieldInfo

from fledge.algorithms.registry import Entry, Subject, find_entry, names_of
from fledge.algorithms.settings import AlgorithmSettings, fields_of
from fledge.errors import UserError


class AlgorithmFields(BaseModel):
    """Of a verb that lets its user choose an algorithm; `subject` says among which, `choice` by
    which field.
    """

    subject: ClassVar[Subject]
    choice: ClassVar[str] = "algorithm"
    chosen: ClassVar[Literal["", "one", "several"]] = ""  # whose fields are among the verb's

    @classmethod
    def compose(cls, given: Mapping[str, Any]) -> type[Self]:
        """The verb's fields and those of the algorithm that is given, else of the usual one.

        Raises UserError for an algorithm that there is not.
        """
        algorithm = str(given.get(cls.choice, cls.model_fields[cls.choice].default))
        usual = find_entry(cls.subject, algorithm).settings(cls.subject)
        fields: dict[str, Any] = dict(fields_of(usual))
        check_setting_names(f"{cls.choice}={algorithm}", fields, cls)
        chosen = FieldInfo.merge_field_infos(cls.model_fields[cls.choice], default=algorithm)
        named: dict[str, Any] = {cls.choice: (str, chosen)}
        name = f"{cls.__name__} of {cls.choice}={algorithm}"
        composed = create_model(name, __base__=cls, **named, **fields)
        composed.chosen = "one"
        return composed

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        """Raises pydantic's ValidationError for a value that cannot be, or a field that neither
        has.
        """
        return cls.compose(given).model_validate(given)

    def composed(self) -> Self:
        """The same where `read` made it; else, made in Python of the verb's fields alone, as `read`
        would have.
        """
        if self.chosen:
            return self
        return self.read({name: getattr(self, name) for name in self.model_fields_set})

    @model_validator(mode="after")
    def _settings_go_together(self) -> Self:
        """What the settings' own validators refuse is said with the fields."""
        if self.chosen == "one":
            self.settings  # noqa: B018
        return self

    @property
    def entry(self) -> Entry:
        return find_entry(self.subject, self.name_chosen)

    @property
    def name_chosen(self) -> str:
        """The value of the field `choice`."""
        return getattr(self, self.choice)

    @property
    def own_code(self) -> list[str]:
        """The algorithm where it is a file of the user's: for the run's lineage."""
        return [self.name_chosen] if ".py:" in self.name_chosen else []

    @property
    def settings(self) -> AlgorithmSettings:
        """The algorithm's own fields, with what was given."""
        usual = self.entry.settings(self.subject)
        given = {name: getattr(self, name) for name in fields_of(usual) if hasattr(self, name)}
        try:
            return usual.replace(**given)
        except ValidationError as error:
            wrong = error.errors()[0]
            where = "".join(f"{name}: " for name in map(str, wrong["loc"]))
            given = f"{self.choice}={self.name_chosen}"
            raise UserError(f"{given}: {where}{wrong['msg']}.") from error


def check_setting_names(whose: str, names: Iterable[str], verb: type[BaseModel]) -> None:
    """Raises UserError for a setting that is called as a field of the verb is, or as something that
    the classes of both need.
    """
    for name in names:
        if name in verb.model_fields:
            taken = "the verb has a field of that name"
        elif hasattr(verb, name) or hasattr(AlgorithmSettings, name):
            taken = "that name is taken"
        else:
            continue
        raise UserError(f"{whose} has a setting `{name}`, and {taken}: give the setting another.")


def whose_setting(subject: Subject, name: str) -> list[str]:
    """The algorithms that have such a setting."""
    entries = ((each, find_entry(subject, each)) for each in names_of(subject))
    return [each for each, entry in entries if name in fields_of(entry.settings(subject))]
