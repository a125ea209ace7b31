"""YAML with the line of every key, so that a refusal can say where. Values have the types of YAML 1.2's core schema.

Only the plain data of YAML is read: no tags, no anchors or aliases (an alias bomb is one of them), no doubled keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from medvfm.core import yaml_scalars
from medvfm.core.errors import MedvfmError, nearest

Keys = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)
LIMIT_BYTES = 4 * 2**20


@dataclass(frozen=True)
class YamlSource:
    """Plain data read from YAML, and where each key stood; line 0 is the command line."""

    data: dict[str, Any]
    file: str
    lines: Mapping[Keys, int]
    folder: Path | None = None

    def folder_of(self, keys: Keys) -> Path | None:
        """The folder that a path at a key is relative to: the file's; None for one given on the command line."""
        given = any(self.lines.get(keys[:end]) == 0 for end in range(1, len(keys) + 1))
        return None if given else self.folder

    def where(self, keys: Keys) -> str:
        """`recipes/a.yaml, line 12, train.epochs`: the deepest part of `keys` whose line is known."""
        dotted = ".".join(str(k) for k in keys)
        for end in range(len(keys), 0, -1):
            if keys[:end] in self.lines:
                line = self.lines[keys[:end]]
                return f"{self.file}, {f'line {line}' if line else 'on the command line'}, {dotted}"
        return f"{self.file}, {dotted}" if dotted else self.file


def read(path: Path, error: type[MedvfmError]) -> YamlSource:
    """The mapping that the file holds; raises `error` naming the line where it is not plain YAML."""
    return replace(parse(_text(path, error), str(path), error), folder=path.parent)


def read_list(path: Path, error: type[MedvfmError]) -> list[Any]:
    """As `read`, of a file that holds a list."""
    node = _composed(_text(path, error), str(path), error)
    if not isinstance(node, yaml.SequenceNode):
        raise error("expected a list", where=f"{path}, line 1")
    found: list[Any] = _plain(node, (), {}, str(path), error)
    return found


def parse(text: str, file: str, error: type[MedvfmError]) -> YamlSource:
    """As `read`, from text; `file` is what messages call it."""
    node = _composed(text, file, error)
    if not isinstance(node, yaml.MappingNode):
        raise error("expected keys and values", where=f"{file}, line 1")
    lines: dict[Keys, int] = {}
    return YamlSource(_plain(node, (), lines, file, error), file, lines)


def _text(path: Path, error: type[MedvfmError]) -> str:
    try:
        if path.stat().st_size > LIMIT_BYTES:
            raise error(f"larger than {LIMIT_BYTES} bytes", where=path)
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as missing:
        raise error("no such file", where=path) from missing
    except (OSError, UnicodeDecodeError) as broken:
        raise error(f"not readable as UTF-8 text: {type(broken).__name__}", where=path) from broken


def _composed(text: str, file: str, error: type[MedvfmError]) -> yaml.Node | None:
    try:
        for event in yaml.parse(text, Loader=yaml_scalars.CoreLoader):
            _refuse_references(event, file, error)
        found: yaml.Node | None = yaml.compose(text, Loader=yaml_scalars.CoreLoader)
        return found
    except yaml.MarkedYAMLError as broken:
        mark = broken.problem_mark or broken.context_mark
        line = f"{file}, line {mark.line + 1}" if mark else file
        raise error(f"broken YAML: {broken.problem or broken.context}", where=line) from broken
    except (yaml.YAMLError, RecursionError) as broken:
        raise error(f"broken YAML: {type(broken).__name__}", where=f"{file}, line 1") from broken


def _refuse_references(event: yaml.Event, file: str, error: type[MedvfmError]) -> None:
    line = f"{file}, line {event.start_mark.line + 1}" if event.start_mark else file
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise error("anchors and aliases (& and *) are not read", where=line, remedy="write the value out")
    if getattr(event, "tag", None):
        raise error(f"the tag {event.tag} is not read", where=line, remedy="write a plain value")  # type: ignore[attr-defined]


def _plain(node: yaml.Node, keys: Keys, lines: dict[Keys, int], file: str, error: type[MedvfmError]) -> Any:
    lines.setdefault(keys, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, (*keys, n), lines, file, error) for n, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        assert isinstance(node, yaml.ScalarNode)
        try:
            return yaml_scalars.scalar(node)
        except ValueError as broken:  # a number of thousands of digits
            raise error("not a value", where=f"{file}, line {node.start_mark.line + 1}") from broken
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise error("a key must be a word", where=f"{file}, line {line}")
        name = key_node.value  # as written: YAML 1.1 would read the key `on` as true
        if name in found:
            raise error(f"the key {name!r} stands twice", where=f"{file}, line {line}")
        lines[(*keys, name)] = line
        found[name] = _plain(value_node, (*keys, name), lines, file, error)
    return found


def overridden(source: YamlSource, overrides: Iterator[str] | list[str], error: type[MedvfmError]) -> YamlSource:
    """The source with `dotted.key=value` laid over it; the values are YAML."""
    data, lines = _copy(source.data), dict(source.lines)
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = tuple(int(k) if k.isdigit() else k for k in dotted.strip().split("."))
        if not equals or "" in keys:
            raise error(f"{override!r} is not KEY=VALUE", where="command line", remedy="as in adapter.method=knn")
        value = parse(f"value: {text}" if text.strip() else "value: null", "command line", error).data["value"]
        _set(data, keys, value, override, error)
        for known in [k for k in lines if k[: len(keys)] == keys]:
            del lines[known]
        lines[keys] = 0
    return YamlSource(data, source.file, lines, source.folder)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return [_copy(v) for v in value] if isinstance(value, list) else value


def _set(data: Any, keys: Keys, value: Any, override: str, error: type[MedvfmError]) -> None:
    at = data
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(at, list):
            if not isinstance(key, int) or key >= len(at):
                raise error(f"{override!r}: no item {key!r} in a list of {len(at)}", where="command line")
        elif not isinstance(at, dict):
            before = ".".join(str(k) for k in keys[:depth])
            raise error(f"{override!r}: {before} is a value, not a section", where="command line")
        else:
            key = str(key)
            if not last and at.get(key) is None:
                at[key] = {}
        if last:
            at[key] = value
        else:
            at = at[key]


def validated(source: YamlSource, model: type[Model], error: type[MedvfmError]) -> Model:
    """The data as `model`; every fault that pydantic finds is named with file, line, key and what was expected."""
    try:
        return model.model_validate(source.data)
    except ValidationError as invalid:
        (where, what), *more = [_fault(source, model, detail) for detail in _most_telling(invalid.errors())]
        also = "".join(f". Also at {place.removeprefix(source.file + ', ')}: {fault}" for place, fault in more[:2])
        raise error(what + also, where=where) from None


def _most_telling(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """One fault a key, misspelt keys first; the deepest, since a union also lists the refusal of each of its kinds."""
    seen: dict[Keys, ErrorDetails] = {}
    for detail in sorted(details, key=lambda d: d["type"] != "extra_forbidden"):
        seen.setdefault(_data_keys(detail), detail)
    return [d for k, d in seen.items() if not any(len(o) > len(k) and o[: len(k)] == k for o in seen) or k == ()]


def _data_keys(detail: ErrorDetails) -> Keys:
    """The location without pydantic's names of union members (`function-after[...]`, `list[...]`, class names)."""
    return tuple(
        k for k in detail["loc"] if isinstance(k, int) or not (k[:1].isupper() or "[" in k or k in _PRIMITIVES)
    )


_PRIMITIVES = {"str", "int", "float", "bool", "none"}


def _fault(source: YamlSource, model: type[BaseModel], detail: ErrorDetails) -> tuple[str, str]:
    keys = _data_keys(detail)
    where, context = source.where(keys), detail.get("ctx", {})
    if detail["type"] == "extra_forbidden":
        siblings = field_names(model, keys[:-1])
        return where, f"unknown key {str(keys[-1])!r}; {nearest(keys[-1], siblings)}"
    if detail["type"] == "missing":
        return source.where(keys[:-1]), f"the key {str(keys[-1])!r} is missing"
    if detail["type"] in ("literal_error", "enum"):
        choices = [c.strip(" '") for c in str(context.get("expected", "")).replace(" or ", ", ").split(",")]
        return where, f"{detail['input']!r} is not known; {nearest(detail['input'], choices)}"
    if detail["type"] == "bool_type":
        return where, f"expected true or false, not {detail['input']!r}"
    if detail["type"] in ("model_type", "model_attributes_type", "dict_type"):
        known = sorted(field_names(model, keys) or field_names(model, keys[:-1]))  # the latter of a section by number
        return where, f"expected a section of keys ({', '.join(known)}), not {detail['input']!r}"
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = "" if isinstance(detail["input"], dict | list) else f", not {detail['input']!r}"
    return where, message.replace("input should be", "expected") + given


def field_names(model: type[BaseModel], keys: Keys) -> set[str]:
    """The keys that `model` knows at a place in the data, for the nearest-name part of a refusal."""
    models: list[Any] = [model]
    for key in keys:
        models = [m for known in models for m in _models_under(known, key)]
    return {field.alias or name for known in models for name, field in known.model_fields.items()}


def _models_under(model: type[BaseModel], key: str | int) -> list[type[BaseModel]]:
    if isinstance(key, int):
        return [model]
    field = next((f for n, f in model.model_fields.items() if key in (n, f.alias)), None)
    return list(_models_in(field.annotation)) if field else []


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)
