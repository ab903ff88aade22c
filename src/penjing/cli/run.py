"""Run the commands and turn whatever they raise into one line, a hint and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import Any

import typer

from penjing.cli.output import say, say_json
from penjing.errors import PenjingError

BUG, INTERRUPTED, USAGE = 3, 130, 2


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    from penjing.cli.commands import app

    as_json, debug = "--json" in arguments, "--debug" in arguments
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        return int(app(arguments, standalone_mode=False) or 0)
    except PenjingError as error:
        if debug:
            traceback.print_exc()
        document = getattr(error, "document", None) or error_json(error.kind, error.message, error.hint)
        return fail(document, error.message, error.hint, error.exit_code, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return fail(error_json("Interrupted", "interrupted", ""), "interrupted", "", INTERRUPTED, as_json)
    except Exception as error:
        if hasattr(error, "format_message"):  # click's usage errors
            message = str(error.format_message()).rstrip(".")
            hint = "`penjing --help` lists commands and options"
            return fail(error_json("UsageError", message, hint), message, hint, USAGE, as_json)
        return bug(error, debug, as_json)


def bug(error: Exception, debug: bool, as_json: bool) -> int:
    """Our fault: one line and where the traceback lies; the traceback itself only with --debug."""
    if debug:
        traceback.print_exc()
    with tempfile.NamedTemporaryFile("w", prefix="penjing-", suffix=".log", delete=False, encoding="utf8") as log:
        log.write(f"penjing {' '.join(sys.argv[1:])}\n\n{traceback.format_exc()}")
    first = (str(error).strip().splitlines() or [""])[0][:300]
    message, hint = f"internal error: {type(error).__name__}: {first}", f"please report it with {log.name}"
    return fail(error_json("InternalError", message, hint), message, hint, BUG, as_json)


def fail(document: dict[str, Any], message: str, hint: str, code: int, as_json: bool) -> int:
    """Print an error: the document on stdout where JSON was asked for, the line and its hint on stderr always."""
    if as_json:
        say_json(document)
    say(f"error: {message}" + (f"\n  hint: {hint}" if hint else ""))
    return code


def error_json(kind: str, message: str, hint: str) -> dict[str, Any]:
    """The error document of design section 6."""
    return {"error": {"kind": kind, "message": message, "hint": hint}}
