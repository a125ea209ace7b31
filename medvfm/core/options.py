"""What only one adapter understands, checked like everything else: unknown names are refused with the nearest one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ValidationError

from medvfm.core.errors import RecipeError, nearest

Kind = TypeVar("Kind", bound=BaseModel)


@dataclass(frozen=True)
class Located:
    """Marks a field of options that may hold a path, which is relative to the recipe, as other paths in it are.

    after_name  the path stands behind a name and a colon: `inception:weights.pth`
    """

    after_name: bool = False


PathOrName = Annotated[str, Located()]  # a file or folder, or what is known by name, such as a hub id
NamedPath = Annotated[str, Located(after_name=True)]


def paths_of(kind: type[BaseModel]) -> dict[str, Located]:
    """The fields that may hold a path."""
    found = {}
    for name, field in kind.model_fields.items():
        marks = [m for m in (*field.metadata, *_marks(field.annotation)) if isinstance(m, Located)]
        if marks:
            found[name] = marks[0]
    return found


def _marks(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for part in getattr(annotation, "__args__", ()):
        yield from _marks(part)


def checked(kind: type[Kind], given: Mapping[str, Any], adapter: str, where: str = "adapter.options") -> Kind:
    """`given` as a record of `kind`."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as invalid:
        wrong = invalid.errors()[0]
        name = str(wrong["loc"][0])
        known = nearest(name, kind.model_fields) if wrong["type"] == "extra_forbidden" else wrong["msg"]
        raise RecipeError(f"the option {name!r} of {adapter}: {known}", where=where) from None
