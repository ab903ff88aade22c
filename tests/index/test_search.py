"""Search from files to hits: an index brought up to date, interrupted or made at once finds the same."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from penjing.apps.search import Filter, Searcher, artifact_of, as_query, index
from penjing.errors import ArtifactError, DataError
from penjing.index.choice import Wanted
from penjing.index.store import WAITING, Store
from tiny_colours import Colours, embedding, paint, paint_many

pytestmark = pytest.mark.shop
PLAIN = Wanted(threads=2)


def hits(folder: Path, tmp_path: Path, query: str = "10 200 30", count: int = 8, only: Filter | None = None) -> list:
    found = Searcher(folder, embedding(tmp_path)).find(query, count, only)
    return [(Path(hit.path).name, pytest.approx(hit.score, abs=1e-6)) for hit in found]


def make(tmp_path: Path, places: list[Path], name: str = "idx", wanted: Wanted = PLAIN, **options):
    runner = options.pop("runner", None)
    model = embedding(tmp_path, runner, options.pop("model", "colours"))
    return index(model, [str(place) for place in places], str(tmp_path / name), wanted, **options)


@pytest.fixture
def photos(tmp_path):
    paint_many(tmp_path / "photos", 40)
    return tmp_path / "photos"


def test_the_nearest_comes_first_with_its_cosine(photos, tmp_path):
    paint(photos, "deep/er/green.png", (10, 200, 30))
    found = make(tmp_path, [photos])
    assert (found.items, found.read, found.faults) == ({"image": 41}, 41, {})
    best = Searcher(tmp_path / "idx", embedding(tmp_path)).find("10 200 30", 3)
    assert Path(best[0].path) == photos / "deep" / "er" / "green.png"
    assert best[0].score == pytest.approx(1.0, abs=1e-3)
    assert [one.score for one in best] == sorted((one.score for one in best), reverse=True)
    by_picture = Searcher(tmp_path / "idx", embedding(tmp_path)).find(photos / "deep/er/green.png", 3)
    assert [one.path for one in by_picture] == [one.path for one in best]


def test_only_what_changed_is_read_and_the_rest_is_as_if_made_at_once(photos, tmp_path):
    make(tmp_path, [photos])
    paint(photos, "0/003.png", (10, 199, 31))
    os.utime(photos / "0/003.png", ns=(1, 1))
    (photos / "0/005.png").unlink()
    shutil.rmtree(photos / "1", ignore_errors=True)
    paint_many(photos, 5, seed=2)
    runner = Colours()
    found = make(tmp_path, [photos], runner=runner, forget=True)
    files = [one for one in runner.reads if isinstance(one, Path)]
    assert (found.read, found.unchanged, found.removed, len(files)) == (6, 38, 1, 6)
    make(tmp_path, [photos], "fresh")
    assert hits(tmp_path / "idx", tmp_path) == hits(tmp_path / "fresh", tmp_path)
    assert hits(tmp_path / "idx", tmp_path)[0][0] == "003.png"


def test_an_interrupted_run_goes_on_where_it_was(tmp_path):
    paint_many(tmp_path / "photos", 150)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path, [tmp_path / "photos"], runner=Colours(breaks_at=100))
    with pytest.raises(ArtifactError, match="not finished"):
        Store.opened(tmp_path / "idx")
    runner = Colours()
    make(tmp_path, [tmp_path / "photos"], runner=runner)
    assert len([one for one in runner.reads if isinstance(one, Path)]) == 150 - 64  # what was kept is not read again
    make(tmp_path, [tmp_path / "photos"], "fresh")
    assert hits(tmp_path / "idx", tmp_path) == hits(tmp_path / "fresh", tmp_path)


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    paint_many(tmp_path / "photos", 150)
    embedding(tmp_path)
    dies = """
import os, signal, sys
from penjing.apps.search import Embedding, index
from penjing.index.choice import Wanted
from tiny_colours import Colours
class Dies(Colours):
    def embed_read(self, read, modality):
        if len(self.reads) > 100:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().embed_read(read, modality)
index(Embedding(Dies(), sys.argv[1]), [sys.argv[2]], sys.argv[3], Wanted())
"""
    given = [tmp_path / "colours", tmp_path / "photos", tmp_path / "idx"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", dies, *given], env=paths, check=False).returncode == -signal.SIGKILL
    runner = Colours()
    make(tmp_path, [tmp_path / "photos"], runner=runner)
    assert len([one for one in runner.reads if isinstance(one, Path)]) == 150 - 64
    make(tmp_path, [tmp_path / "photos"], "fresh")
    assert hits(tmp_path / "idx", tmp_path) == hits(tmp_path / "fresh", tmp_path)


def test_an_open_index_is_searched_as_it_is_by_now(photos, tmp_path):
    make(tmp_path, [photos])
    searcher = Searcher(tmp_path / "idx", embedding(tmp_path))
    paint(photos, "new.png", (10, 200, 30))
    (photos / "0" / "001.png").unlink()
    make(tmp_path, [photos], forget=True)
    found = [Path(hit.path).name for hit in searcher.find("10 200 30", 100)]
    assert (found[0], len(found)) == ("new.png", 40)
    assert "001.png" not in found


def test_what_a_killed_run_left_half_written_is_cleared(photos, tmp_path):
    make(tmp_path, [photos])
    before = hits(tmp_path / "idx", tmp_path)
    with (tmp_path / "idx" / WAITING).open("ab") as waiting:
        waiting.write(b"half a vector")
    (tmp_path / "idx" / "vectors-9").mkdir()
    paint_many(photos, 3, seed=5)
    make(tmp_path, [photos])
    assert not (tmp_path / "idx" / "vectors-9").exists()
    assert len(before) == 8
    make(tmp_path, [photos], "fresh")
    assert hits(tmp_path / "idx", tmp_path) == hits(tmp_path / "fresh", tmp_path)


def test_what_cannot_be_read_is_named_and_left_until_it_changes(photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "empty.md").write_text("")
    found = make(tmp_path, [photos])
    assert {Path(path).name for path in found.faults} == {"broken.png", "empty.md"}
    assert "is not an image" in found.faults[str(photos / "broken.png")]
    runner = Colours()
    assert make(tmp_path, [photos], runner=runner).read == 0
    paint(photos, "broken.png", (1, 2, 3))
    found = make(tmp_path, [photos])
    assert (found.read, found.items, [*found.faults]) == (1, {"image": 41}, [str(photos / "empty.md")])


def test_what_cannot_be_opened_is_tried_again_though_it_has_not_changed(photos, tmp_path, monkeypatch):
    shut = photos / "shut.png"
    paint(photos, shut.name, (1, 2, 3))
    opened = Path.open

    def refused(path, *args, **options):
        if path == shut:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **options)

    with monkeypatch.context() as changed:
        changed.setattr(Path, "open", refused)
        for _ in range(2):
            found = make(tmp_path, [photos])
            assert found.items == {"image": 40}
            assert found.faults == {str(shut): f"{shut} cannot be opened: Permission denied"}
    found = make(tmp_path, [photos])
    assert (found.read, found.items, found.faults) == (1, {"image": 41}, {})


def test_folders_are_added_and_remembered(photos, tmp_path):
    paint_many(tmp_path / "more", 4, seed=7)
    make(tmp_path, [photos])
    assert make(tmp_path, [tmp_path / "more"]).items == {"image": 44}
    assert make(tmp_path, [photos]).items == {"image": 44}
    shutil.rmtree(tmp_path / "more")
    assert make(tmp_path, [photos], forget=True).items == {"image": 40}


def test_a_folder_that_has_nothing_any_more_is_forgotten_when_asked(photos, tmp_path):
    paint_many(tmp_path / "more", 4, seed=7)
    make(tmp_path, [photos, tmp_path / "more"])
    shutil.rmtree(tmp_path / "more" / "7")
    found = make(tmp_path, [tmp_path / "more"])
    assert (found.items, found.missing, found.removed) == ({"image": 44}, 4, 0)
    found = make(tmp_path, [tmp_path / "more"], forget=True)
    assert (found.items, found.missing, found.removed) == ({"image": 40}, 0, 4)
    shutil.rmtree(tmp_path / "more")
    assert make(tmp_path, [tmp_path / "more"]).items == {"image": 40}
    assert Store.opened(tmp_path / "idx").catalog["places"] == [str(photos)]
    assert make(tmp_path, [photos]).items == {"image": 40}


def test_what_tables_say_of_files_is_taken_over_when_it_changes(photos, tmp_path):
    (photos / "colours.md").write_text("# Green\n\n10 200 30\n")
    table, asked = photos / "metadata.jsonl", tmp_path / "idx"
    table.write_text('{"file_name": "colours.md", "label": "old"}\n')
    found = make(tmp_path, [photos])
    assert found.faults == {}  # a table of metadata is no text to be found
    assert [name for name, _ in hits(asked, tmp_path, only=Filter(fields={"label": "old"}))] == ["colours.md"]
    table.write_text('{"file_name": "colours.md", "label": "new"}\n')
    os.utime(table, ns=(1, 1))
    assert make(tmp_path, [photos]).read == 0
    assert hits(asked, tmp_path, only=Filter(fields={"label": "old"})) == []
    assert [name for name, _ in hits(asked, tmp_path, only=Filter(fields={"label": "new"}))] == ["colours.md"]


def test_names_and_cells_that_cannot_be_read_are_left_out(photos, tmp_path):
    shutil.copy(photos / "0/000.png", os.fsencode(photos) + b"/\xff\xfe.png")
    (photos / "long.csv").write_text(f"question,answer\nwhy,{'x' * 200_000}\n")
    found = make(tmp_path, [photos])
    assert found.items == {"image": 40}
    assert {Path(path).name for path in found.faults} == {"\\udcff\\udcfe.png", "long.csv"}
    assert "cannot be read as a table" in found.faults[str(photos / "long.csv")]
    assert make(tmp_path, [photos]).read == 0


def test_passages_of_texts_are_items_with_titles(photos, tmp_path):
    (photos / "colours.md").write_text("# Green\n\n10 200 30\n\n# Red\n\n250 3 4\n")
    assert make(tmp_path, [photos]).items == {"image": 40, "text": 2}
    best = Searcher(tmp_path / "idx", embedding(tmp_path)).find("10 200 30", 1)[0]
    assert (best.kind, best.title, best.text.strip()) == ("text", "Green", "10 200 30")


def test_filters_leave_others_out(photos, tmp_path):
    paint(photos, "cats/a.png", (12, 201, 33))
    paint(photos, "cats/b.png", (200, 20, 30))
    rows = ['{"file_name": "cats/a.png", "mood": "calm"}', '{"file_name": "cats/b.png", "mood": "wild"}']
    (photos / "metadata.jsonl").write_text("\n".join(rows))
    make(tmp_path, [photos])
    asked = tmp_path / "idx"
    assert [name for name, _ in hits(asked, tmp_path, only=Filter(path="*/cats/*"))] == ["a.png", "b.png"]
    assert [name for name, _ in hits(asked, tmp_path, only=Filter(fields={"mood": "wild"}))] == ["b.png"]
    assert hits(asked, tmp_path, only=Filter(kind="text")) == []
    assert hits(asked, tmp_path, only=Filter(fields={'"; DROP TABLE item; --': "x"})) == []
    assert len(hits(asked, tmp_path, count=100)) == 42


def test_a_table_that_cannot_be_read_is_named(photos, tmp_path):
    (photos / "0" / "metadata.jsonl").write_text("no table")
    found = make(tmp_path, [photos])
    assert found.items == {"image": 40}
    assert "is not valid JSON" in found.faults[str(photos / "0" / "metadata.jsonl")]


def test_an_index_of_another_model_is_refused(photos, tmp_path):
    make(tmp_path, [photos])
    with pytest.raises(ArtifactError, match="another model"):
        make(tmp_path, [photos], model="others")
    with pytest.raises(ArtifactError, match="another model"):
        Searcher(tmp_path / "idx", embedding(tmp_path, name="others"))
    assert make(tmp_path, [photos], model="others", anew=True).read == 40
    assert Path(artifact_of(tmp_path / "idx")).name == "others"


def test_one_writer_at_a_time(photos, tmp_path):
    with Store.written(tmp_path / "idx"), pytest.raises(ArtifactError, match="another process"):
        make(tmp_path, [photos])
    assert make(tmp_path, [photos]).read == 40


def test_mistakes_are_told_and_nothing_is_made(photos, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "love.txt").write_text("dear")
    with pytest.raises(ArtifactError, match="something else"):
        make(tmp_path, [photos], "letters")
    for place, said in ((tmp_path / "nowhere", "is not there"), (tmp_path / "colours", "nothing to index")):
        embedding(tmp_path)
        with pytest.raises(DataError, match=said):
            make(tmp_path, [place], "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(DataError, match="no form called 'int7'"):
        make(tmp_path, [photos], wanted=Wanted(form="int7"))
    with pytest.raises(ArtifactError, match="is no index"):
        Searcher(tmp_path / "nowhere", embedding(tmp_path))


@pytest.mark.parametrize(("text", "said"), [("", "empty query"), ("  ", "empty query"), ("gone.jpg", "is not a file")])
def test_queries_that_are_none(text, said):
    with pytest.raises(DataError, match=said):
        as_query(text)


def test_words_that_end_like_a_file_are_words(tmp_path):
    assert as_query("the logo of index.png") == "the logo of index.png"
    assert as_query(str(paint(tmp_path, "a.png", (1, 1, 1)))) == tmp_path / "a.png"


def test_where_the_artifact_was_moved_it_is_said_how_to_name_it(photos, tmp_path):
    make(tmp_path, [photos])
    Path(artifact_of(tmp_path / "idx")).rename(tmp_path / "moved")
    with pytest.raises(ArtifactError, match="no longer at") as caught:
        artifact_of(tmp_path / "idx")
    assert "--artifact" in caught.value.hint
    assert artifact_of(tmp_path / "idx", [tmp_path / "moved"]) == str(tmp_path / "moved")


def test_a_damaged_index_is_one_line(photos, tmp_path):
    make(tmp_path, [photos])
    (vectors,) = (tmp_path / "idx").glob("vectors-*/base.faiss")
    vectors.write_bytes(b"rubbish")
    with pytest.raises(ArtifactError, match="damaged"):
        Searcher(tmp_path / "idx", embedding(tmp_path))
    (tmp_path / "idx" / "catalog.sqlite").write_bytes(b"rubbish" * 100)
    with pytest.raises(ArtifactError, match="damaged"):
        Searcher(tmp_path / "idx", embedding(tmp_path))


def test_a_form_is_kept_when_the_index_grows(tmp_path):
    paint_many(tmp_path / "photos", 1100)
    found = make(tmp_path, [tmp_path / "photos"], wanted=Wanted(form="int8", threads=2))
    assert found.form is not None
    assert (found.form.form, found.form.items) == ("int8", 1100)
    for other in (Wanted(form="int4"), Wanted(recall=1.0), Wanted(recall=0.1, at=3)):
        with pytest.raises(ArtifactError, match=r"keeps int8, .* cannot be compressed anew"):
            make(tmp_path, [tmp_path / "photos"], wanted=other)
    assert make(tmp_path, [tmp_path / "photos"], wanted=Wanted(recall=0.5)).form == found.form
    paint(tmp_path / "photos", "new.png", (10, 200, 30))
    (tmp_path / "photos" / "0" / "001.png").unlink()
    assert make(tmp_path, [tmp_path / "photos"], forget=True).items == {"image": 1100}
    store = Store.opened(tmp_path / "idx")
    assert (store.vectors().spec.name, len(store.vectors())) == ("int8", 1100)
    assert hits(tmp_path / "idx", tmp_path)[0][0] == "new.png"
    names = {name for name, _ in hits(tmp_path / "idx", tmp_path, count=1100)}
    assert "001.png" not in names
    assert len(names) == 1100
    assert np.isfinite([score.expected for _, score in hits(tmp_path / "idx", tmp_path, count=1100)]).all()
