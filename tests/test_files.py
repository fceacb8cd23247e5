"""Whatever fails while a file is written, its name holds the former content or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from deflect.files import atomic_path, read_json, write_json


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
def test_nothing_takes_the_name_after_an_error(tmp_path: Path, folder: bool) -> None:
    fails_halfway(tmp_path / "new", folder)
    assert not list(tmp_path.iterdir())


def test_the_former_content_survives_an_error(tmp_path: Path) -> None:
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
