"""The types of plain values in YAML 1.2's core schema (chapter 10.3.2), which PyYAML knows only in the form of 1.1.

yes, no, on, off, 12:30 and 2020-01-02 are text, 010 is ten, 0o10 is eight.
"""

from __future__ import annotations

import re

import yaml

_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))
_RESOLVERS = (
    (_NULL, re.compile(r"~|null|Null|NULL|"), [*"~nN", ""]),
    (_BOOL, re.compile(r"true|True|TRUE|false|False|FALSE"), [*"tTfF"]),
    (_INT, re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), [*"-+0123456789"]),
    (
        _FLOAT,
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        [*"-+0123456789."],
    ),
)


class CoreLoader(yaml.SafeLoader):
    """Composes nodes whose tags are those of the core schema; values are made by `scalar`."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - as PyYAML has it


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would read as another type."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {  # noqa: RUF012
        first: list(known) for first, known in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }


for _tag, _pattern, _first in _RESOLVERS:
    for _kind in (CoreLoader, _Dumper):
        _kind.add_implicit_resolver(_tag, re.compile(f"(?:{_pattern.pattern})\\Z"), _first)


def scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """The value of a scalar that CoreLoader composed."""
    text = node.value
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return text.lower() == "true"
    if node.tag == _INT:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if node.tag == _FLOAT:
        return float(re.sub(r"\.(inf|nan)$", r"\1", text.lower()))
    return str(text)


def dumped(data: object, *, width: int = 110) -> str:
    """Plain data as YAML that reads back as the same, with 1.1 and with 1.2."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
