"""What every component's settings are made of: frozen values, checked when they are made, each with its place in the
paper.

A setting is declared once, as a field of the component that uses it: type, bounds, default (the paper's) and
description. `params/` composes these types, and params.yaml is written from them.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Settings(BaseModel):
    """The settings of a component."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    inline: ClassVar[bool] = False  # written on one line of params.yaml

    @classmethod
    def of(cls, *parts: BaseModel, **values: object) -> Self:
        """Settings whose fields come from `parts`, which may have others too; of the same field the last one counts.

        Args:
            parts: Settings of which some fields are wanted here.
            values: Fields given by name; they count most.

        Raises:
            pydantic.ValidationError: a required field is in none of them, or a value does not fit.
        """
        known = {name: getattr(part, name) for part in parts for name in type(part).model_fields}
        return cls(**{name: value for name, value in known.items() if name in cls.model_fields} | values)
