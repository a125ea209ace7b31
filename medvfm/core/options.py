"""What only one adapter understands, checked like everything else: unknown names are refused with the nearest one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from medvfm.core.errors import RecipeError, nearest

Kind = TypeVar("Kind", bound=BaseModel)


def checked(kind: type[Kind], given: Mapping[str, Any], adapter: str, where: str = "adapter.options") -> Kind:
    """`given` as a record of `kind`."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as invalid:
        wrong = invalid.errors()[0]
        name = str(wrong["loc"][0])
        known = nearest(name, kind.model_fields) if wrong["type"] == "extra_forbidden" else wrong["msg"]
        raise RecipeError(f"the option {name!r} of {adapter}: {known}", where=where) from None
