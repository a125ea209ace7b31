"""The command line in this process: what it prints and the status that it ends with, without another one's start."""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass

import pytest

from medvfm import cli


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def command(*words: object) -> Done:
    """`medvfm WORDS`, on a terminal of 200 columns without colours."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["medvfm", *map(str, words)])
        for name, value in {"COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            cli.main()
    code = ended.value.code
    return Done(code if isinstance(code, int) else 0 if code is None else 1, out.getvalue(), err.getvalue())
