"""Plain values of YAML 1.2's core schema: by the examples of its chapter 10, and back again."""

from __future__ import annotations

import math

import pytest
import yaml

from medvfm.core.errors import RecipeError
from medvfm.core.recipe import Recipe
from medvfm.core.yaml_scalars import dumped
from medvfm.core.yaml_source import parse, validated


def value(text: str) -> object:
    return parse(f"value: {text}", "a.yaml", RecipeError).data["value"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("null", None), ("~", None), ("", None), ("true", True), ("False", False), ("TRUE", True),
        ("0", 0), ("010", 10), ("-19", -19), ("+12", 12), ("0o7", 7), ("0o10", 8), ("0x3A", 58), ("08", 8),
        ("0.", 0.0), ("-0.0", -0.0), (".5", 0.5), ("+12e03", 12000.0), ("-2E+05", -200000.0), ("1e-4", 1e-4),
        (".inf", math.inf), ("-.Inf", -math.inf), ("1.5", 1.5),
        ("yes", "yes"), ("No", "No"), ("on", "on"), ("OFF", "OFF"), ("y", "y"), ("12:30", "12:30"),
        ("190:20:30.15", "190:20:30.15"), ("2020-01-02", "2020-01-02"), ("1_000", "1_000"), ("0b11", "0b11"),
        ("=", "="), ("nULL", "nULL"), ("tRUE", "tRUE"), ("1.2.3", "1.2.3"), ("0o8", "0o8"), ("e3", "e3"),
        ("'10'", "10"), ('"true"', "true"),
    ],
)  # fmt: skip
def test_values_by_their_look(text, wanted):
    found = value(text)
    assert found == wanted and type(found) is type(wanted)


def test_not_a_number():
    assert math.isnan(value(".NaN"))


@pytest.mark.parametrize(
    "data", ["yes", "010", "0o10", "12:30", "1e-4", "1e3", "2020-01-02", "", "~", "null", "a: b", "10", 10, 1e-4, 1e20,
             True, None, math.inf, "true", "0x10", "1_000", "=", "<<", " a "]
)  # fmt: skip
def test_what_is_written_reads_back_as_the_same(data):
    """By this reader, and by one of YAML 1.1 where that has the type."""
    text = dumped({"value": data})
    found = parse(text, "a.yaml", RecipeError).data["value"]
    assert found == data and type(found) is type(data)
    assert yaml.safe_load(text)["value"] == data


def test_a_switch_that_is_no_true_or_false_is_refused_with_both():
    text = "title: x\ndata: {card: a}\ntask: {name: classification}\nadapter: {name: dinov2}\n"
    text += "train: {balanced_sampling: yes}\n"
    with pytest.raises(RecipeError, match=r"line 5, train.balanced_sampling: expected true or false, not 'yes'"):
        validated(parse(text, "a.yaml", RecipeError), Recipe, RecipeError)
