"""A forest of intervals says long words once, below the table, where several lines have them."""

from __future__ import annotations

import re

from medvfm.report.charts import forest

LONG = "only 11 patients: the interval is unreliable, and so is this"


def row(note=None, value=0.5):
    return {"metric": "dice", "value": value, "low": 0.4, "high": 0.6, "level": 0.95, "note": note}


def test_words_of_several_lines_are_a_footnote_and_others_stand_at_their_line():
    lines = [
        forest.Line("one", row(LONG), "short"), forest.Line("two", row(LONG), "short"), forest.Line("head"),
        forest.Line("three", row("an own note that is long enough to be one")),
    ]  # fmt: skip
    page = str(forest.table("Title", lines, first="Of", value="Dice"))
    assert page.count(LONG) == 1 and page.index(LONG) > page.index("</table>")
    assert re.findall(r"(\w+)<sup>(\w)</sup>", page.partition("</table>")[0]) == [("one", "a"), ("two", "a")]
    assert page.count("short</span>") == 2 and page.count("an own note") == 1
    assert page.index("an own note") < page.index("</table>")


def test_a_line_without_a_value_says_its_reason_and_no_footnote():
    page = str(forest.table("Title", [forest.Line("x", row(LONG, None))] * 2, first="Of", value="Dice"))
    twice = str(forest.table("Title", [forest.Line("x", row(LONG), LONG)], first="Of", value="Dice"))
    assert twice.count(LONG) == 1 and "footnotes" not in twice  # what it is and its note in the same words
    assert page.count(f"not defined: {LONG}") == 2 and "footnotes" not in page
