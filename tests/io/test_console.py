"""What long work says of itself: on a terminal something moves, elsewhere plain lines."""

from __future__ import annotations

import io

import pytest

from medvfm.io import console
from medvfm.io.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_hold_no_control_characters_and_tell_the_time_left(monkeypatch):
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(console.time, "monotonic", lambda: float(next(clock)))
    stream = io.StringIO()
    with Console(stream).working("reading"):
        assert list(Console(stream).track(range(6), 6, "epoch 2/3")) == [0, 1, 2, 3, 4, 5]
    said = stream.getvalue()
    assert "\x1b" not in said and said.startswith("  reading\n")
    assert "  epoch 2/3: 2/6, about " in said and "epoch 2/3: 6/6 in " in said


def test_steps_within_steps_share_one_display_and_leave_the_cursor():
    stream = Terminal()
    shown = Console(stream)
    with shown.working("fitting"):
        for number in shown.track(range(3), 3, "epoch 1/2", done=False):
            shown.say(f"line {number}")
    said = stream.getvalue()
    assert "line 0" in said and "line 2" in said and "epoch 1/2" in said and "fitting" in said
    assert said.count("\x1b[?25l") == said.count("\x1b[?25h") > 0  # the cursor is hidden, and comes back
    assert shown._display is None


def test_a_step_that_fails_takes_its_line_away():
    shown = Console(Terminal())
    with pytest.raises(ValueError, match="no"), shown.working("fitting"):
        raise ValueError("no")
    assert shown._display is None
    shown.say("after")


def test_quiet_says_nothing():
    stream = Terminal()
    with Console(stream, quiet=True).working("fitting"):
        assert list(Console(stream, quiet=True).track([1], 1, "read")) == [1]
    assert stream.getvalue() == ""
