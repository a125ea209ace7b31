"""The options to type where values of masks differ: for one structure as they stand, for several to be filled in."""

from __future__ import annotations

from collections.abc import Collection

ONE = "lesion"  # what the one structure of an example is called
MOST = 8  # values of an example


def line(truth: Collection[int], predictions: Collection[int]) -> str:
    """`--labels 1=lesion --predicted-labels 1=lesion,255=lesion`: every value is one structure."""
    return f"{_option('--labels', truth)} {_option('--predicted-labels', predictions)}"


def remedy(truth: Collection[int], predictions: Collection[int]) -> str:
    """What to type where predictions hold values that the truth lacks."""
    others = ",".join(str(value) for value in sorted(set(predictions) - set(truth)))
    none = f"if {others} {'are' if ',' in others else 'is'} no structure: {_equals('--background', others)}"
    if len(truth) == 1:
        return f"if all mean the same: {line(truth, predictions)}; {none}"
    if max(len(truth), len(predictions)) > MOST:
        return "--labels names the values of the truth, --predicted-labels those of the predictions: a card or a table"
    named = [",".join(f"{value}=NAME{value}" for value in sorted(values)) for values in (truth, predictions)]
    both = f"{_equals('--labels', named[0])} {_equals('--predicted-labels', named[1])}"
    return f"{both}, the same structure by the same name; {none}"


def of_background(lowest: int, rest: Collection[int], predictions: Collection[int], *, zero: bool) -> str:
    """What to type where the lowest value of the truth may be its background.

    zero  predictions have a background of 0
    """
    named = ",".join(f"{value}=NAME{value if len(rest) > 1 else ''}" for value in sorted(rest))
    without = f"if so: --labels {named} {_equals('--background', str(lowest))}"
    own = set(predictions) - (set() if zero else {lowest})
    if not own <= set(rest):
        name = "NAME" if len(rest) == 1 else "NAME..."
        theirs = ",".join(f"{value}={name}" for value in sorted(own)[:MOST])
        without += f" {_equals('--predicted-labels', theirs)}"
    every = ",".join(f"{value}=NAME{value}" for value in sorted({lowest, *rest}))
    return f"{without}; if it is a structure: {_equals('--labels', every)}"


def _option(option: str, values: Collection[int]) -> str:
    return _equals(option, ",".join(f"{value}={ONE}" for value in sorted(values)))


def _equals(option: str, text: str) -> str:
    """What begins with a minus would be taken for an option of its own."""
    return f"{option}={text}" if text.startswith("-") else f"{option} {text}"
