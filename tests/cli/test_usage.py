"""Usage errors, our own bugs, help: what a person sees who mistypes, and what a script reads."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from penjing.cli import commands, main
from penjing.errors import did_you_mean

USAGE = {
    "no such command": (["comprss"], "No such command 'comprss'"),
    "no such option": (["compress", "model", "-o", "out", "--bogus"], "No such option: --bogus"),
    "missing argument": (["inspect"], "Missing argument 'model'"),
    "missing option": (["compress", "model"], "Missing option '-o' / '--out'"),
    "missing value": (["compress", "model", "--json", "-o"], "Option '-o' requires an argument"),
    "not a number": (["compress", "model", "-o", "out", "--threads", "two"], "valid integer"),
    "too many arguments": (["inspect", "one", "two"], "Got unexpected extra argument(s) (two)"),
}


@pytest.mark.parametrize("name", USAGE)
def test_usage_error(name, penjing):
    arguments, message = USAGE[name]
    found = penjing(*arguments, as_json="--json" not in arguments)
    said, hint = found.check_refused()
    assert message in said
    assert hint == "`penjing --help` lists commands and options"
    assert found.json["error"]["kind"] == "UsageError"


def test_no_arguments(penjing):
    found = penjing(as_json=False)
    assert found.code == 2
    assert found.told == ["error: no command given", "  hint: `penjing --help` lists commands and options"]
    assert "Usage: penjing" in found.out


def test_usage_error_without_json_leaves_stdout_empty(penjing):
    found = penjing("inspect", as_json=False)
    assert (found.code, found.out) == (2, "")


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in ("compress", "transcribe"))])
def test_help(arguments, penjing):
    found = penjing(*arguments, as_json=False)
    assert (found.code, found.err) == (0, "")
    assert "Usage: penjing" in found.out


def test_version(penjing):
    assert re.fullmatch(r"penjing \d+\.\d+\.\d+\n", penjing("--version", as_json=False).out)


def test_every_command_speaks_json():
    for command in commands.app.registered_commands:
        assert "json" in command.callback.__annotations__, command.callback.__name__


def break_recipes(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `penjing recipes` fail in a way nobody foresaw."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("penjing.recipe.builtin_recipes", fail)


def test_our_bug_is_one_line_and_a_log(penjing, monkeypatch):
    break_recipes(monkeypatch, ZeroDivisionError("division by zero\nsecond line"))
    found = penjing("recipes")
    message, hint = found.check_refused(3)
    assert message == "internal error: ZeroDivisionError: division by zero"
    log = Path(hint.removeprefix("please report it with "))
    text = log.read_text()
    log.unlink()
    assert text.startswith("penjing recipes --json\n\nTraceback")
    assert "ZeroDivisionError" in text
    assert found.json["error"]["kind"] == "InternalError"


def test_debug_shows_the_traceback(penjing, monkeypatch):
    break_recipes(monkeypatch, ZeroDivisionError("division by zero"))
    found = penjing("recipes", "--debug")
    Path(found.json["error"]["hint"].removeprefix("please report it with ")).unlink()
    assert found.code == 3
    assert "Traceback" in found.err


def test_no_room_for_the_log(penjing, monkeypatch):
    break_recipes(monkeypatch, ZeroDivisionError("division by zero"))

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("penjing.cli.run.tempfile.NamedTemporaryFile", full)
    assert penjing("recipes").check_refused(3)[1] == "please report it with what --debug prints"


def test_interrupted(penjing, monkeypatch):
    break_recipes(monkeypatch, KeyboardInterrupt())
    found = penjing("recipes")
    assert found.code == 130
    assert found.json == {"error": {"kind": "Interrupted", "message": "interrupted", "hint": ""}}
    assert found.told == ["error: interrupted"]


def test_main_exits_with_the_code(capfd):
    with pytest.raises(SystemExit) as left:
        main(["nonsense"])
    assert left.value.code == 2
    assert capfd.readouterr().out == ""


def test_a_reader_that_leaves_early():
    """`penjing recipes speech | true` is no bug of ours."""
    command = f"{sys.executable} -m penjing recipes speech | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("arguments", "code"), [("recipes speech", 2), ("methods --json", 2), ("nonsense --json", 2)])
def test_a_full_disk_is_one_line(arguments, code):
    command = f"{sys.executable} -m penjing {arguments} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_messages_are_one_line_each(penjing):
    found = penjing("inspect", "no\nsuch\nfolder")
    assert len(found.told) == 2
    assert json.loads(found.out)["error"]["kind"] == "ModelError"


def test_did_you_mean_names_the_nearest_or_all():
    assert did_you_mean("rtm", ["rtn", "float16"]) == "did you mean 'rtn'?"
    assert did_you_mean("?", ["b", "a"]) == "known: a, b"
