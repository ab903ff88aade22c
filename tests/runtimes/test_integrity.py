"""Files that run are what the manifest says; names and digests never lead out of their folders."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from penjing import stamps
from penjing.artifact import manifest as manifests
from penjing.artifact.manifest import NAME, checked_files, file_hash, read_manifest, unlisted_files, verify
from penjing.artifact.whole_file import write_whole
from penjing.errors import ArtifactError
from penjing.runtimes import integrity
from penjing.runtimes.integrity import verified_files

pytestmark = pytest.mark.shop

DIGEST = "0" * 64


@pytest.fixture
def artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files that were written an hour ago, with their manifest, and a cache of its own."""
    monkeypatch.setenv("PENJING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(integrity, "_DIGESTS", stamps.Memo())
    monkeypatch.setattr(stamps, "SETTLED_NS", -(10**18))
    folder = tmp_path / "artifact"
    for name in ("onnx/model.onnx", "tokenizer.json", "checkpoint/model.safetensors", "README.md"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    write(folder, manifests.file_hashes(folder))
    return folder


def write(folder: Path, files: dict[str, str]) -> None:
    manifests.write_json(folder / NAME, {"format": 1, "settings": {}, "files": files})


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x", "onnx/../../x", "a//b", "./a", "", ".", "a\\b", "C:x", "a\nb", "a" * 2000]
)
def test_a_name_that_leads_out_is_refused(name, artifact):
    write(artifact, {name: DIGEST})
    with pytest.raises(ArtifactError, match="is not the name of a file inside of it") as caught:
        read_manifest(artifact)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "digest", ["../../../x", "/tmp/x", DIGEST[1:], DIGEST.replace("0", "G"), DIGEST + "\n", 5, None]
)
def test_a_digest_is_64_hexadecimal_digits(digest, artifact):
    write(artifact, {"onnx/model.onnx": digest})
    with pytest.raises(ArtifactError, match="is not 64 hexadecimal digits"):
        read_manifest(artifact)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(artifact, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (artifact / "inside").symlink_to("tokenizer.json")
    write(artifact, {"inside": file_hash(artifact / "tokenizer.json")})
    assert list(verified_files(artifact, read_manifest(artifact))) == ["inside"]
    (artifact / "out").symlink_to(tmp_path / "secret")
    write(artifact, {"out": file_hash(tmp_path / "secret")})
    with pytest.raises(ArtifactError, match="is a link to what is outside of it"):
        read_manifest(artifact)
    (artifact / "folder").symlink_to(tmp_path)
    write(artifact, {"folder/secret": file_hash(tmp_path / "secret")})
    with pytest.raises(ArtifactError, match="is a link to what is outside of it"):
        read_manifest(artifact)


def test_a_snapshot_of_the_hub_links_to_its_blobs(artifact, tmp_path):
    store = tmp_path / "models--me--it"
    (store / "blobs").mkdir(parents=True)
    snapshot = store / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    shutil.copy(artifact / "tokenizer.json", store / "blobs" / "1")
    (snapshot / "tokenizer.json").symlink_to("../../blobs/1")
    files = {"tokenizer.json": file_hash(artifact / "tokenizer.json")}
    assert checked_files(snapshot, {"files": files}) == files


@pytest.mark.parametrize(("name", "checkpoint"), [("onnx/model.onnx", False), ("checkpoint/model.safetensors", True)])
def test_what_runs_is_hashed(name, checkpoint, artifact):
    manifest = read_manifest(artifact)
    assert verified_files(artifact, manifest, checkpoint=checkpoint)[name] == file_hash(artifact / name)
    (artifact / "README.md").write_text("edited by hand")
    assert name in verified_files(artifact, manifest, checkpoint=checkpoint)
    (artifact / name).write_text("changed")
    assert verified_files(artifact, manifest, checkpoint=not checkpoint)
    with pytest.raises(ArtifactError, match=f"{name} was changed after it was measured"):
        verified_files(artifact, manifest, checkpoint=checkpoint)
    (artifact / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        verified_files(artifact, manifest, checkpoint=checkpoint)


def test_an_artifact_that_lists_nothing_is_refused(artifact):
    write(artifact, {})
    with pytest.raises(ArtifactError, match="lists no files"):
        verified_files(artifact, read_manifest(artifact))


def test_files_that_did_not_change_are_not_read_again(artifact, monkeypatch):
    """Another process begins with an empty memory and finds the digests in the cache."""
    before = verified_files(artifact, read_manifest(artifact))
    monkeypatch.setattr(integrity, "_DIGESTS", stamps.Memo())
    monkeypatch.setattr(integrity, "file_hash", lambda path: pytest.fail(f"{path} was read again"))
    assert verified_files(artifact, read_manifest(artifact)) == before


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"files": 5}', b'{"files": [[1], [1, 2, 3, 4, 5, 6], "x"]}', b"\xff"])
def test_a_damaged_memory_is_no_memory(damage, artifact, tmp_path, monkeypatch):
    before = verified_files(artifact, read_manifest(artifact))
    (memory,) = (tmp_path / "cache" / "verified").iterdir()
    memory.write_bytes(damage)
    monkeypatch.setattr(integrity, "_DIGESTS", stamps.Memo())
    assert verified_files(artifact, read_manifest(artifact)) == before


def test_a_change_of_equal_length_and_time_is_noticed(artifact, monkeypatch):
    """A program can set the time of a file's last change, and not that of its entry."""
    manifest = read_manifest(artifact)
    path = artifact / "tokenizer.json"
    status = path.stat()
    verified_files(artifact, manifest)
    path.write_text("tokenizer.jsoN")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(ArtifactError, match=r"tokenizer\.json was changed"):
        verified_files(artifact, manifest)


def test_what_is_too_young_is_not_remembered(artifact, tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "SETTLED_NS", 10**18)
    verified_files(artifact, read_manifest(artifact))
    assert not (tmp_path / "cache").exists()


def test_three_hundred_megabytes_open_at_once_the_second_time(artifact, monkeypatch):
    with (artifact / "onnx" / "model.onnx").open("wb") as stream:
        stream.truncate(300_000_000)
    write(artifact, manifests.file_hashes(artifact))
    verified_files(artifact, read_manifest(artifact))
    monkeypatch.setattr(integrity, "_DIGESTS", stamps.Memo())
    start = time.process_time()
    verified_files(artifact, read_manifest(artifact))
    assert time.process_time() - start < 0.1


def test_verify_reads_everything_and_names_what_is_not_listed(artifact):
    (artifact / "extra.txt").write_text("x")
    files = verify(artifact, read_manifest(artifact))
    assert len(files) == 4
    assert unlisted_files(artifact, files) == ["extra.txt"]
    (artifact / "README.md").write_text("edited by hand")
    with pytest.raises(ArtifactError, match=r"README\.md was changed"):
        verify(artifact, read_manifest(artifact))


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_whole(tmp_path / "a", b"1")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    write_whole(tmp_path / "b", b"2")
    assert (tmp_path / "a").read_bytes() == b"1"
    (tmp_path / "folder" / "x").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_whole(tmp_path / "folder", b"3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "folder"]


def test_the_manifest_is_bounded(artifact):
    (artifact / NAME).write_bytes(b"[" * 100_000)
    with pytest.raises(ArtifactError, match="nested more than 100 levels"):
        read_manifest(artifact)
    document = {"format": 1, "files": {f"{number}": DIGEST for number in range(10_001)}}
    (artifact / NAME).write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match="lists 10001 files"):
        read_manifest(artifact)
    (artifact / NAME).write_text('{"format": 1, "task": []}')
    with pytest.raises(ArtifactError, match="task should be text"):
        read_manifest(artifact)
