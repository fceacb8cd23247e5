"""If writing a file fails, its old content is kept; hashes and seals detect changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from deflect import files
from deflect.errors import DeflectError
from deflect.files import atomic_path, read_json, sha256_file, sha256_once, write_json


def halfway(path: Path, folder: bool) -> None:
    with atomic_path(path) as aside:
        if folder:
            aside.mkdir()
        (aside / "part" if folder else aside).write_text("half")
        raise RuntimeError("halfway")


def fails_halfway(path: Path, folder: bool) -> None:
    with pytest.raises(RuntimeError, match="halfway"):
        halfway(path, folder)


@pytest.mark.parametrize("folder", [False, True])
def test_no_file_is_created_after_an_error(tmp_path: Path, folder: bool) -> None:
    fails_halfway(tmp_path / "new", folder)
    assert not list(tmp_path.iterdir())


def test_the_old_content_is_kept_after_an_error(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    fails_halfway(tmp_path / "a.json", folder=False)
    assert read_json(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "b").mkdir()
    (tmp_path / "b/whole").touch()
    fails_halfway(tmp_path / "b", folder=True)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.json", "b", "whole"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        with atomic_path(tmp_path / "b") as aside:
            aside.mkdir()
            (aside / name).touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["b", "new"]


def test_the_hash_of_a_large_file_is_cached_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is detected even if size and modification time stay the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "WORTH_CACHING", 0)
    monkeypatch.setattr(files, "TOO_NEW", -1)
    read: list[Path] = []
    monkeypatch.setattr(files, "sha256_file", lambda path: (read.append(path), sha256_file(path))[1])
    path = tmp_path / "weights"
    path.write_bytes(b"1" * 100)
    first, state = sha256_once(path), path.stat()
    assert sha256_once(path) == first == sha256_file(path)
    assert len(read) == 1
    path.write_bytes(b"2" * 100)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert sha256_once(path) == sha256_file(path) != first
    assert len(read) == 2


def test_the_hash_of_a_new_file_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(files, "WORTH_CACHING", 0)
    (tmp_path / "new").write_bytes(b"1")
    sha256_once(tmp_path / "new")
    assert not (tmp_path / "cache").exists()


def test_a_seal_detects_changes_and_may_be_removed(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    write_json(path, {"b": [0.1, 1e-9], "a": {3: "x"}}, seal=True)
    assert read_json(path) == {"b": [0.1, 1e-9], "a": {"3": "x"}}
    text = path.read_text()
    path.write_text(text.replace("0.1", "0.2"))
    with pytest.raises(DeflectError, match=r'card\.json: changed since it was written; .* remove its entry "seal"'):
        read_json(path)
    content = json.loads(text) | {"b": [0.2]}
    del content["seal"]
    path.write_text(json.dumps(content))
    assert read_json(path)["b"] == [0.2]
