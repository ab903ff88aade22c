"""The command line: arguments to one call, errors to one line and an exit code."""

from __future__ import annotations

import os
import sys

from penjing.errors import Interrupted

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 a goal was not met, 2 bad input, 3 our bug, 130 interrupted."""
    from penjing.cli.run import run

    code = run(sys.argv[1:] if arguments is None else arguments)
    if code == Interrupted.exit_code:
        # Python remembers an interruption that hit inside `exec`, as when torch traces, and would kill itself by it.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
