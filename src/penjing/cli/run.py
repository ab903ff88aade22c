"""Run the commands and turn whatever they raise into one line, a hint and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from typing import Any

from penjing.cli.output import say, say_json
from penjing.errors import Interrupted, PenjingError
from penjing.extras import workshop

BUG, USAGE = 3, 2
NO_COMMAND = "no command given"
HELP = "`penjing --help` lists commands and options"


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        code = call(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read our output has seen enough
        mute()
        return 0
    except PenjingError as error:
        if debug:
            traceback.print_exc()
        document = getattr(error, "document", None) or error_json(error.kind, error.message, error.hint)
        return fail(document, error.message, error.hint, error.exit_code, as_json)
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC and error.filename is None:
            mute()
            return fail({}, "the output cannot be written: no space is left", "free some", USAGE, as_json=False)
        if hasattr(error, "format_message"):  # click's usage errors
            message = " ".join(str(error.format_message()).split()).rstrip(".") or NO_COMMAND
            return fail(error_json("UsageError", message, HELP), message, HELP, USAGE, as_json)
        return bug(error, arguments)


def call(arguments: list[str]) -> int:
    """Run one command; an interruption becomes an error of ours, and so does a package that is not installed."""
    try:
        import typer

        from penjing.cli.commands import app
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted") from error
    try:
        with workshop():
            code = int(app(arguments, prog_name="penjing", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort) as error:
        raise Interrupted("interrupted") from error
    except SystemExit as error:  # typer's own end where whoever read our output has left
        raise BrokenPipeError from error
    if code == Interrupted.exit_code:  # typer swallows the interruption and returns what a shell would
        raise Interrupted("interrupted")
    return code


def mute() -> None:
    """Let what is printed from now on go nowhere, what is still to be flushed too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def bug(error: Exception, arguments: list[str]) -> int:
    """Our fault: one line and where the traceback lies; the traceback itself only with --debug."""
    if "--debug" in arguments:
        traceback.print_exc()
    first = (str(error).strip().splitlines() or [""])[0][:300]
    message, hint = f"internal error: {type(error).__name__}: {first}", f"please report it with {write_log(arguments)}"
    return fail(error_json("InternalError", message, hint), message, hint, BUG, "--json" in arguments)


def write_log(arguments: list[str]) -> str:
    """Write the traceback of the error at hand to a file of its own and return its path."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="penjing-", suffix=".log", delete=False, encoding="utf8", errors="backslashreplace"
        ) as log:
            log.write(f"penjing {' '.join(arguments)}\n\n{traceback.format_exc()}")
    except OSError:
        return "what --debug prints"
    return log.name


def fail(document: dict[str, Any], message: str, hint: str, code: int, as_json: bool) -> int:
    """Print an error: the document on stdout where JSON was asked for, the line and its hint on stderr always."""
    if as_json:
        try:
            say_json(document)
        except OSError:  # nobody reads, or no space is left; the line below still says it
            mute()
    message, hint = (" ".join(text.split()) for text in (message, hint))
    say(f"error: {message}" + (f"\n  hint: {hint}" if hint else ""))
    return code


def error_json(kind: str, message: str, hint: str) -> dict[str, Any]:
    """The error document of design section 6."""
    return {"error": {"kind": kind, "message": message, "hint": hint}}
