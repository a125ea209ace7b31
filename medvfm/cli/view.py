"""`medvfm view`: nothing heavy is imported before the command needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def view(
    run: Annotated[Path, typer.Argument(help="a finished run")],
    root: Annotated[str | None, typer.Option(help="folder of the data, where the run does not lead there")] = None,
    niivue: Annotated[
        Path | None, typer.Option(help="niivue.umd.js, where it cannot be fetched: it is kept for the next time")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 0,
    browser: Annotated[bool, typer.Option(help="open the page")] = True,
) -> None:
    """Look at a run's volumes, masks and truths in this machine's browser: medvfm view runs/organs

    Names of cases and files are seen. Only this machine can ask, and only with the address that is printed.
    """
    from medvfm.pipeline import viewing

    def announce(address: str) -> None:
        print(f"{address}\nControl-C ends it", flush=True)
        if browser and sys.stdout.isatty():
            import webbrowser

            webbrowser.open(address)

    try:
        viewing.view(run, root=root, bundle=niivue, port=port, announce=announce)
    except KeyboardInterrupt:
        print("\nended")
