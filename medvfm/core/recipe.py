"""The recipe: one YAML that says which model is adapted to which data, how, and how it is judged.

Strict: a key or value that is not known is refused with file, line, key, what was expected and the nearest name.
The names of adapters, methods, tasks, metrics and cards are checked by the pipeline, which knows who gives what.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, model_validator

from medvfm.core import yaml_source
from medvfm.core.errors import RecipeError
from medvfm.core.options import Located
from medvfm.core.recipe_sections import (
    AdapterSettings,
    Baseline,
    Data,
    Evaluate,
    Lax,
    Prepare,
    Repeats,
    Section,
    Select,
    Split,
    Sweep,
    TaskSettings,
    Train,
)
from medvfm.core.yaml_source import Keys


class Recipe(Section):
    """A recipe with every default filled in. `load` reads one; `where` says where a key stood."""

    title: str = Field(min_length=1, max_length=200)
    seed: int = Field(0, ge=0, le=2**32 - 1)
    data: Data
    prepare: Prepare = Prepare()
    split: Split = Split()
    task: TaskSettings | Annotated[tuple[TaskSettings, ...], Lax]
    adapter: AdapterSettings
    train: Train = Train()
    select: Select = Select()
    baselines: Annotated[tuple[Baseline, ...], Lax] = ()
    evaluate: Evaluate = Evaluate()
    repeats: Repeats = Repeats()
    sweep: Sweep | None = None
    _source: yaml_source.YamlSource | None = PrivateAttr(None)
    _written: dict[Keys, str] = PrivateAttr(default_factory=dict)  # options before they were located

    @model_validator(mode="after")
    def _one_train(self) -> Recipe:
        if self.adapter.stages and self.train.given():
            raise ValueError("with stages, each stage has its own train")
        return self

    @property
    def tasks(self) -> tuple[TaskSettings, ...]:
        return self.task if isinstance(self.task, tuple) else (self.task,)

    def where(self, *keys: str | int) -> str:
        """File, line and key, for a refusal that only a later check can make."""
        return self._source.where(keys) if self._source else ".".join(str(k) for k in keys)

    def located(self, *keys: str | int, must_be_path: bool = True) -> str:
        """The path at a key, which is relative to the recipe; on the command line, to the working directory.

        What can be a name too (a card without a file's ending, a hub id) is left as it is, unless a file of that name
        lies beside the recipe.
        """
        value: Any = self
        for key in keys:
            value = value[key] if isinstance(key, int) else getattr(value, key)
        return self._beside(keys, str(value), must_be_path)

    def with_located(self, places: Mapping[Keys, Located]) -> Recipe:
        """The recipe with what stands at these keys of options as a path, as `located` has it of weights."""
        found = self.model_copy(deep=True)
        for keys, mark in places.items():
            options: Any = found
            for key in keys[:-1]:
                options = options[key] if isinstance(key, int) else getattr(options, key)
            given = options.get(keys[-1])
            if not isinstance(given, str):
                continue
            name, colon, path = given.partition(":") if mark.after_name else ("", "", given)
            place = f"{name}{colon}{self._beside(keys, path, False)}" if path else given
            if place != given:
                found._written[keys] = given
                options[keys[-1]] = place
        return found

    def _beside(self, keys: Keys, text: str, must_be_path: bool) -> str:
        folder = self._source.folder_of(keys) if self._source else None
        if folder is None or Path(text).expanduser().is_absolute():
            return text
        beside = folder.absolute() / text
        named = keys[-1] == "card" and not text.endswith((".yaml", ".yml"))
        return text if named or (not must_be_path and not beside.exists()) else str(beside)

    def as_data(self, *, located: bool = False) -> dict[str, Any]:
        """Plain data with every default, as recipe.yaml and run.json hold it. located: with paths of options as they
        are found from any folder, in place of what the recipe says."""
        found = self.model_dump(mode="json", by_alias=True)
        for keys, given in () if located else self._written.items():
            section: Any = found
            for key in keys[:-1]:
                section = section[key]
            section[keys[-1]] = given
        return found

    def digest(self) -> str:
        """Eight letters for what is run; where the data lie is not part of it."""
        data = self.as_data()
        data["data"].pop("root")
        data["data"]["card"] = Path(data["data"]["card"]).name
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:8]


def load(path: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe and lay `dotted.key=value` overrides over it; both go through the same checks."""
    source = yaml_source.read(Path(path), RecipeError)
    return from_source(yaml_source.overridden(source, list(overrides), RecipeError))


def from_source(source: yaml_source.YamlSource) -> Recipe:
    """Validate data that was read or built elsewhere."""
    recipe = yaml_source.validated(source, Recipe, RecipeError)
    recipe._source = source
    return recipe


def from_data(data: dict[str, Any], name: str) -> Recipe:
    """Validate plain data, such as a finished run holds; `name` is what messages call it."""
    return from_source(yaml_source.YamlSource(data, name, {}))


def json_schema() -> dict[str, Any]:
    """For editors: `medvfm schema recipe`."""
    return Recipe.model_json_schema(by_alias=True)
