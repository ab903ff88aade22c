"""Places for artifacts: checked without a trace, written beside, moved in one step, never lost."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from penjing.artifact.publish import check_out, publish, staging, standing
from penjing.errors import ArtifactError, DataError, Interrupted
from penjing.pipeline import compress as pipeline
from tiny_models import TINY

EIGHT_BITS = pipeline.Options(recipe="weights", goals=("cosine>=0.9",), threads=1)


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def artifact(folder: Path, text: str = "old") -> Path:
    folder.mkdir()
    (folder / "weights").write_text(text)
    (folder / "penjing.json").write_text(json.dumps({"format": 1, "files": {"weights": "0"}}))
    return folder


def test_a_free_place_is_left_as_it_is(tmp_path):
    check_out(tmp_path / "new" / "deep" / "out", overwrite=False)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_and_an_artifact_may_be_overwritten(tmp_path):
    (tmp_path / "empty").mkdir()
    check_out(tmp_path / "empty", overwrite=True)
    check_out(artifact(tmp_path / "artifact"), overwrite=True)
    assert content(tmp_path / "artifact")["weights"] == "old"


def test_a_broken_link_is_in_the_way(tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArtifactError, match="already exists"):
        check_out(tmp_path / "out", overwrite=False)


def test_a_name_too_long(tmp_path):
    with pytest.raises(ArtifactError, match="File name too long"):
        check_out(tmp_path / ("o" * 300), overwrite=False)


def test_published_in_one_step(tmp_path):
    with staging(tmp_path / "deep" / "out", tmp_path / "deep" / ".work", fresh=True) as folder:
        (folder / "weights").write_text("new")
        assert not (tmp_path / "deep" / "out").exists()
        publish(folder, tmp_path / "deep" / "out")
    assert content(tmp_path) == {"deep/out/weights": "new"}
    assert not (tmp_path / "deep" / ".work").exists()


def test_the_old_artifact_goes_when_the_new_one_has_come(tmp_path):
    out = artifact(tmp_path / "out")
    with staging(out, tmp_path / ".work", fresh=True) as folder:
        (folder / "weights").write_text("new")
        assert content(out)["weights"] == "old"
        publish(folder, out)
    assert content(tmp_path) == {"out/weights": "new"}


def test_the_old_artifact_comes_back_when_the_new_one_cannot_be_moved(tmp_path, monkeypatch):
    out, new = artifact(tmp_path / "out"), artifact(tmp_path / "new", "new")
    replace = os.replace

    def fail(source, target):
        if Path(source) == new:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="cross-device"):
        publish(new, out)
    assert content(out)["weights"] == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "out"]


def write_and_raise(tmp_path: Path, write: Callable[[Path], object], error: BaseException) -> None:
    """Write something while staging and fail."""

    def stage() -> None:
        with staging(tmp_path / "out", tmp_path / ".work", fresh=True) as folder:
            write(folder)
            raise error

    with pytest.raises(type(error)):
        stage()


def test_what_appears_during_a_run_is_left_alone_and_the_result_lies_beside_it(tmp_path):
    out, new = tmp_path / "out", artifact(tmp_path / "new", "new")
    before = standing(out)
    out.mkdir()
    (out / "diary.txt").write_text("mine")
    with pytest.raises(ArtifactError, match=r"is left alone; the result is .*out\.new") as caught:
        publish(new, out, before)
    assert caught.value.exit_code == 2
    assert (out / "diary.txt").read_text() == "mine"
    assert content(tmp_path / "out.new")["weights"] == "new"
    newer = artifact(tmp_path / "new", "newer")
    with pytest.raises(ArtifactError, match=r"the result is .*out\.new-2"):
        publish(newer, out, before)


def test_an_artifact_that_changed_during_a_run_is_not_overwritten(tmp_path):
    out, new = artifact(tmp_path / "out"), artifact(tmp_path / "new", "new")
    before = standing(out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is left alone"):
        publish(new, out, before)
    assert content(out)["notes.txt"] == "mine"
    (out / "notes.txt").unlink()
    publish(artifact(tmp_path / "new", "newer"), out, standing(out))
    assert content(out)["weights"] == "newer"


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_that_is_ended_says_how_to_go_on(finished, tmp_path):
    """SIGTERM ends it as Ctrl-C does."""
    work = tmp_path / ".work"

    def end_it() -> None:
        with staging(tmp_path / "out", work, fresh=True) as folder:
            if finished:
                finish_a_step(folder)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        end_it()
    assert work.exists() == finished
    assert ("--resume" in caught.value.hint) == finished
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def finish_a_step(folder: Path) -> None:
    (folder.parent / "steps" / "one").mkdir(parents=True)
    (folder.parent / "steps" / "one" / "notes.json").write_text("{}")


@pytest.mark.parametrize("error", [DataError("no", hint="yes"), Interrupted("x", hint="y"), ZeroDivisionError()])
def test_what_was_not_published_is_removed(error, tmp_path):
    write_and_raise(tmp_path, lambda folder: (folder / "weights").write_text("new"), error)
    assert list(tmp_path.iterdir()) == []


def test_finished_steps_stay_and_go_when_a_run_starts_afresh(tmp_path):
    out, work = tmp_path / "out", tmp_path / ".work"
    write_and_raise(tmp_path, finish_a_step, Interrupted("x", hint="y"))
    assert content(tmp_path) == {".work/steps/one/notes.json": "{}"}
    with staging(out, work, fresh=False):
        assert (work / "steps" / "one" / "notes.json").exists()
    with staging(out, work, fresh=True):
        assert not (work / "steps").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_run_took_away_is_made_and_locked_again(tmp_path, monkeypatch):
    """The first run ends after the second opened its folder and before it locked it."""
    out, work, lock = tmp_path / "out", tmp_path / ".work", fcntl.flock
    taken: list[int] = []

    def slow(handle: int, how: int) -> None:
        if not taken:
            taken.append(handle)
            work.rmdir()
        lock(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with staging(out, work, fresh=True) as folder:
        assert folder.is_dir()
        with pytest.raises(ArtifactError, match="another run is writing"), staging(out, work, fresh=True):
            pass


@pytest.mark.parametrize("fresh", [True, False])
def test_two_runs_on_one_out(fresh, tmp_path):
    """The second is refused and takes nothing from the first; when that one has ended, the place is free."""
    out, work = tmp_path / "out", tmp_path / ".work"
    with staging(out, work, fresh=True) as folder:
        (folder / "half").write_text("x")
        with pytest.raises(ArtifactError, match="another run is writing") as told, staging(out, work, fresh=fresh):
            pass
        assert "wait for it" in told.value.hint
        assert (folder / "half").read_text() == "x"
    with staging(out, work, fresh=fresh) as folder:
        assert not any(folder.iterdir())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system"),
        (RuntimeError("Error while serializing: I/O error: … (os error 28)"), "No space left on device"),
    ],
)
def test_a_full_disk_is_one_line(error, reason, tmp_path):
    with pytest.raises(ArtifactError) as told, staging(tmp_path / "out", tmp_path / ".work", fresh=True):
        raise error
    assert told.value.message == f"cannot write {tmp_path / 'out'}: {reason}"
    assert "--resume" in told.value.hint


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "gone"), RuntimeError("wrong (os error 2)")])
def test_other_errors_are_not_blamed_on_the_disk(error, tmp_path):
    with pytest.raises(type(error)), staging(tmp_path / "out", tmp_path / ".work", fresh=True):
        raise error


@pytest.mark.parametrize("limit_bytes", [1_000, 20_000])
def test_a_disk_that_fills_up_while_writing(limit_bytes, tmp_path):
    """The system itself refuses to write files of more than so many bytes."""
    model, out = TINY["bert_masked"](tmp_path / "bert"), artifact(tmp_path / "out")
    options = pipeline.Options(recipe="weights", goals=("cosine>=0.9",), overwrite=True, threads=1)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        with pytest.raises(ArtifactError, match=r"cannot write .*out: File too large"):
            pipeline.compress(str(model), out, options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert content(out)["weights"] == "old"
    assert not (tmp_path / ".out.penjing" / "artifact").exists()


def test_room_again_and_resumed(tmp_path, monkeypatch):
    model, out = TINY["bert_masked"](tmp_path / "bert"), tmp_path / "out"
    write = pipeline.write_artifact

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pipeline, "write_artifact", full)
    with pytest.raises(ArtifactError, match="No space left"):
        pipeline.compress(str(model), out, EIGHT_BITS)
    monkeypatch.setattr(pipeline, "write_artifact", write)
    stages: list[str] = []
    options = pipeline.Options(recipe="weights", goals=("cosine>=0.9",), resume=True, threads=1)
    pipeline.compress(str(model), out, options, tell=lambda what, done, total: stages.append(what))
    assert not any(stage.startswith("rtn") for stage in stages)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bert", "out"]


@pytest.mark.parametrize("kept", ["teacher-1/answered.jsonl", "teacher-1/index.json", "transcripts-1.jsonl"])
def test_what_a_teacher_said_is_worth_keeping(kept, tmp_path):
    """Ctrl-C after twenty minutes of asking it, before any step is done."""
    out, work = tmp_path / "out", tmp_path / ".out.penjing"
    with staging(out, work, fresh=True):
        (work / "steps" / "scratch" / kept).parent.mkdir(parents=True)
        (work / "steps" / "scratch" / kept).write_text("{}\n")
    assert [path.name for path in work.iterdir()] == ["steps"]
    with staging(out, work, fresh=False):
        assert (work / "steps" / "scratch" / kept).is_file()


def test_an_empty_answer_is_not(tmp_path):
    work = tmp_path / ".out.penjing"
    with staging(tmp_path / "out", work, fresh=True):
        (work / "steps" / "scratch" / "teacher-1").mkdir(parents=True)
    assert not work.exists()
