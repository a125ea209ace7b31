"""A section of the page: its place, its title, and the function that makes its HTML."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from medvfm.report.run_view import View


@dataclass(frozen=True)
class PageSection:
    """What page.py puts together.

    order     sections stand in this order, those of every run and those of its task among each other
    build     gives None where the run has no data for it
    of_model  its numbers are the model's: an oracle's where prompts come from the truth
    """

    order: int
    title: str
    build: Callable[[View], Markup | None]
    of_model: bool = False

    @property
    def id(self) -> str:
        """The name of the file that `build` lies in."""
        return self.build.__module__.rpartition(".")[2]
