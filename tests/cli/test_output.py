"""Progress on stderr: lines for a file, bars for a person; documents on stdout."""

from __future__ import annotations

import io
import json
import sys

import pytest

from penjing.cli import output
from penjing.cli.output import progress, say, say_json


class Terminal(io.StringIO):
    """A stream that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_one_line_per_stage_where_nobody_looks(capsys):
    with progress() as tell:
        tell("open the model", 0, 0)
        for done in range(3):
            tell("export source", done, 2)
        tell("measure memory", 0, 0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["open the model", "export source", "measure memory"]


def test_a_long_stage_says_how_far_it_is(capsys, monkeypatch):
    seconds = iter([0.0, 1.0, 2.0, 40.0])
    monkeypatch.setattr(output, "perf_counter", lambda: next(seconds))
    with progress() as tell:
        for done in range(3):
            tell(f"train · loss {done}", done, 9)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("] ")[1] for line in lines] == ["train · loss 0", "train · loss 2 (2 of 9)"]


def test_a_stage_with_details_is_one_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as tell:
        for done in range(3):
            tell(f"train · loss {done}", done, 3)
    last = terminal.getvalue().rpartition("loss 2")
    assert "3/3" in last[2]
    assert last[2].count("/3") == 1


def test_bars_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as tell:
        tell("open the model", 0, 0)
        tell("export source", 1, 2)
        tell("judge", 60, 60)
    shown = terminal.getvalue()
    assert all(stage in shown for stage in ("open the model", "export source", "judge"))
    assert "60/60" in shown
    assert "2/2" in shown  # a stage is done when the next one begins


def fail() -> None:
    with progress() as tell:
        tell("open the model", 0, 0)
        raise KeyError("model")


@pytest.mark.parametrize("stream", [Terminal, io.StringIO])
def test_errors_come_through(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream())
    with pytest.raises(KeyError):
        fail()


def test_documents_go_to_stdout_and_the_rest_to_stderr(capsys):
    say_json({"text": "größer", "value": 1.5})
    say("done")
    found = capsys.readouterr()
    assert json.loads(found.out) == {"text": "größer", "value": 1.5}
    assert "größer" in found.out
    assert found.err == "done\n"
