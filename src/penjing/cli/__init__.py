"""The command line: arguments to one call, errors to one line and an exit code."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a goal was not met, 2 bad input, 3 our bug, 130 interrupted."""
    from penjing.cli.run import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
