"""`medvfm view RUN`: volumes of a run in the browser of this machine, and of no other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medvfm.io.console import Console
from medvfm.pipeline.viewing import cases, niivue, server


def view(
    run: str | Path,
    *,
    root: str | None = None,
    bundle: Path | None = None,
    port: int = 0,
    announce: Callable[[str], None] = print,
    console: Console | None = None,
) -> None:
    """Serve the images, masks and truths of a run's test cases until interrupted; `announce` gets the address.

    root    of the data, where the run does not lead there; bundle: niivue.umd.js, where it cannot be fetched
    """
    found = cases.of_run(Path(run), root, console or Console())
    script = niivue.bundle(bundle)
    with server.listening(found, script, port) as one:
        announce(one.address)
        one.serve_forever()
