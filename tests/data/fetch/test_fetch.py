"""Fetching from a real server on the loopback interface: whatever fails, a final name never has a partial file."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

import pytest
import requests
from loopback import Site

from deflect.data import disk
from deflect.data.disk import lock
from deflect.data.fetch import download
from deflect.data.fetch.file import fetch_file
from deflect.data.fetch.sources import Source
from deflect.errors import DataError, DownloadError

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RETRIES": 3, "PAUSE": 0.01, "LONGEST_PAUSE": 0.02, "TIMEOUT": 5.0}.items():
        monkeypatch.setattr(download, name, value)


def get(source: Source, folder: Path) -> bytes:
    return fetch_file(source, folder).read_bytes()


def left_in(folder: Path) -> list[str]:
    """Files of ``folder`` without locks and records."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and ".locks" not in p.parts and p.suffix != ".json")


def test_file_is_fetched_verified_and_recorded(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT)
    source = Source("deep/a.zip", url, version="1", bytes=len(CONTENT), sha256=SHA256, md5=MD5)
    assert get(source, tmp_path) == CONTENT
    assert left_in(tmp_path) == ["a.zip"]
    assert json.loads((tmp_path / "checksums.json").read_text()) == {
        "deep/a.zip": {"bytes": len(CONTENT), "sha256": SHA256, "version": "1"}
    }
    assert get(source, tmp_path) == CONTENT
    assert len(site.log) == 1, "a verified file is not fetched again"


def test_cut_connection_is_resumed_where_it_broke(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, "cut", "500", "cut")
    assert get(Source("a.zip", url, sha256=SHA256), tmp_path) == CONTENT
    half, three_quarters = len(CONTENT) // 2, len(CONTENT) * 3 // 4
    assert site.ranges("a.zip") == ["", f"bytes={half}-", f"bytes={half}-", f"bytes={three_quarters}-"]


@pytest.mark.parametrize("stated", [{}, {"bytes": len(CONTENT)}, {"sha256": SHA256}])
def test_a_truncated_response_is_never_accepted(site: Site, tmp_path: Path, stated: dict) -> None:
    url = site.put("a.zip", CONTENT, "cut", "cut", "cut")
    assert get(Source("a.zip", url, version="1", **stated), tmp_path) == CONTENT
    gone = site.put("b.zip", CONTENT, *["nothing"] * 9)
    with pytest.raises(DownloadError, match=r"b\.zip"):
        get(Source("b.zip", gone, version="1", **stated), tmp_path)
    assert "b.zip" not in left_in(tmp_path)


@pytest.mark.parametrize("fault", ["abc", "gzip"])
def test_a_meaningless_length_is_ignored(site: Site, tmp_path: Path, fault: str) -> None:
    url = site.put("a.zip", CONTENT, fault)
    assert get(Source("a.zip", url, version="1", bytes=len(CONTENT), sha256=SHA256), tmp_path) == CONTENT


def test_a_server_that_sends_more_than_stated_is_cut_off(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "MOST", 4 * len(CONTENT))
    for stated, most in (({"bytes": len(CONTENT)}, len(CONTENT)), ({}, download.MOST)):
        url = site.put("a.zip", CONTENT, *["longer"] * 9)
        with pytest.raises(DownloadError, match=f"{most} bytes expected, the server sends more"):
            get(Source("a.zip", url, version="1", **stated), tmp_path)
        assert left_in(tmp_path) == []


@pytest.mark.parametrize("fault", ["drip", "silent"])
def test_a_silent_or_slow_connection_is_retried(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    assert get(Source("a.zip", site.put("a.zip", CONTENT, fault), sha256=SHA256), tmp_path) == CONTENT
    assert len(site.log) == 2


def test_a_redirect_to_no_address_is_one_line(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, *["astray"] * 9)
    with pytest.raises(DownloadError, match=r"a\.zip: not fetched"):
        get(Source("a.zip", url, version="1"), tmp_path)


def test_a_truncated_response_without_length_is_resumed(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, "unstated")
    assert get(Source("a.zip", url, version="1", bytes=len(CONTENT)), tmp_path) == CONTENT
    assert site.ranges("a.zip") == ["", f"bytes={len(CONTENT) // 2}-"]


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_a_file_placed_by_hand_of_another_size_is_refused(site: Site, tmp_path: Path, size: int) -> None:
    (tmp_path / "a.zip").write_bytes(bytes(size))
    with pytest.raises(DownloadError, match=f"{len(CONTENT)} bytes expected, {size} found"):
        get(Source("a.zip", "http://127.0.0.1:9/a.zip", version="1", bytes=len(CONTENT)), tmp_path)


def test_part_of_an_older_version_is_not_resumed(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checksum is known, so a mixed file would be accepted."""
    url = site.put("a.zip", b"old!" * (1 << 16), "cut")
    monkeypatch.setattr(download, "RETRIES", 0)
    with pytest.raises(DownloadError, match=r"connection ended|broken"):
        get(Source("a.zip", url), tmp_path)
    assert left_in(tmp_path) == [".a.zip.part"]
    site.put("a.zip", CONTENT)
    assert get(Source("a.zip", url), tmp_path) == CONTENT
    assert site.log[-1][1:] == ("", 200)


def test_a_file_that_changes_between_two_connections_is_not_resumed(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checksum is known: only If-Range reports that the file changed."""
    url = site.put("a.zip", b"old!" * (1 << 16), "cut")
    monkeypatch.setattr(download.time, "sleep", lambda _: site.put("a.zip", CONTENT))
    assert get(Source("a.zip", url), tmp_path) == CONTENT
    assert [entry[1:] for entry in site.log] == [("", 200), (f"bytes={1 << 17}-", 200)]


def test_without_validator_and_checksum_nothing_is_resumed(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, "no_tag")
    (tmp_path / ".a.zip.part").write_bytes(b"who knows")
    assert get(Source("a.zip", url), tmp_path) == CONTENT
    assert site.ranges("a.zip") == [""]


def test_a_server_without_ranges_sends_the_whole_file(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, "cut", "whole")
    assert get(Source("a.zip", url, sha256=SHA256), tmp_path) == CONTENT


def test_a_range_with_another_start_is_refused(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, "cut", "shifted")
    assert get(Source("a.zip", url), tmp_path) == CONTENT
    assert site.ranges("a.zip")[-1] == "", "from the first byte"


def test_progress_resets_the_count_of_retries(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "RETRIES", 1)
    assert get(Source("a.zip", site.put("a.zip", CONTENT, *["cut"] * 4)), tmp_path) == CONTENT


def test_complete_part_of_a_killed_process_is_used(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT)
    (tmp_path / ".a.zip.part").write_bytes(CONTENT)
    assert get(Source("a.zip", url, sha256=SHA256), tmp_path) == CONTENT
    assert [status for _, _, status in site.log] == [416]


def test_damaged_part_is_detected_by_checksum_and_fetched_again(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT)
    (tmp_path / ".a.zip.part").write_bytes(b"x" * 1000)
    assert get(Source("a.zip", url, md5=MD5), tmp_path) == CONTENT
    assert site.ranges("a.zip") == ["bytes=1000-", ""]


@pytest.mark.parametrize("fault", ["missing", "garbage", "html"])
def test_the_archive_address_is_used_next(site: Site, tmp_path: Path, fault: str) -> None:
    first = site.put("first.zip", CONTENT, fault)
    if fault == "missing":
        del site.files["first.zip"]
    source = Source("a.zip", first, archive_url=site.put("second.zip", CONTENT), sha256=SHA256)
    assert get(source, tmp_path) == CONTENT
    assert [path for path, _, _ in site.log] == ["first.zip", "second.zip"]


@pytest.mark.parametrize(
    ("facts", "fault", "message"),
    [
        ({"sha256": "0" * 64}, "", f"sha256 {'0' * 64} expected by the catalog, {SHA256} found"),
        ({"md5": "0" * 32}, "", f"md5 {'0' * 32} expected by the catalog, {MD5} found"),
        ({"bytes": 10}, "", "10 bytes expected, the server offers 1048576"),
        ({}, "html", "a web page, not the file"),
        ({"archive_url": "ftp://127.0.0.1/a"}, "html", "ftp://127.0.0.1/a: not an http, https or gdrive address"),
    ],
)
def test_wrong_file_leaves_nothing(site: Site, tmp_path: Path, facts: dict, fault: str, message: str) -> None:
    source = Source("a.zip", site.put("a.zip", CONTENT, fault), **facts, by_hand="ask the authors")
    with pytest.raises(DownloadError) as caught:
        get(source, tmp_path)
    line = str(caught.value)
    assert message in line
    assert "\n" not in line
    assert line.endswith(f"To get it by hand: ask the authors; then put the file at {tmp_path}/a.zip")
    assert not (tmp_path / "a.zip").exists()
    assert not (tmp_path / "checksums.json").exists()


def test_address_that_keeps_failing_is_an_error(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, *["500"] * 9)
    with pytest.raises(DownloadError, match=r"HTTP 500 .*gave up after 3 retries"):
        get(Source("a.zip", url), tmp_path)
    assert len(site.log) == 4


def test_no_server_at_the_address(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="gave up after 3 retries"):
        get(Source("a.zip", "http://127.0.0.1:9/a.zip"), tmp_path)


def test_a_small_disk_is_an_error_before_anything_is_written(site: Site, tmp_path: Path, monkeypatch) -> None:
    usage = disk.shutil.disk_usage(tmp_path)._replace(free=disk.RESERVE + 1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    for source in (
        Source("a.zip", site.put("a.zip", CONTENT), bytes=len(CONTENT)),  # known from the catalog
        Source("a.zip", site.put("a.zip", CONTENT), archive_url=site.put("b.zip", CONTENT)),  # known from the server
    ):
        with pytest.raises(DataError, match=r"68\.2 MB of room needed, 67\.1 MB free"):
            get(source, tmp_path)
    assert [path for path, _, _ in site.log] == ["a.zip"], "another address cannot help"
    assert left_in(tmp_path) == []


def test_a_disk_that_fills_up_is_named(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    with pytest.raises(DataError, match="the disk is full; make room"), disk.naming_full_disk(tmp_path):
        full.write_bytes(b"1")


def test_file_placed_by_hand_is_verified_and_used(site: Site, tmp_path: Path) -> None:
    source = Source("a.zip", site.put("a.zip", CONTENT), sha256=SHA256[:8])
    (tmp_path / "a.zip").write_bytes(CONTENT)
    assert get(source, tmp_path) == CONTENT
    (tmp_path / "a.zip").write_bytes(CONTENT[:-1])
    with pytest.raises(DownloadError, match=rf"a\.zip: sha256 {SHA256[:8]} expected by the catalog.*delete it"):
        get(source, tmp_path)
    (tmp_path / "a.zip").write_bytes(b"<html>log in</html>")
    with pytest.raises(DownloadError, match="a web page"):
        get(source, tmp_path)
    assert site.log == []


@pytest.mark.parametrize("stated", [{}, {"sha256": SHA256[:8]}])
def test_recorded_checksum_is_enforced(site: Site, tmp_path: Path, stated: dict) -> None:
    source = Source("a.zip", site.put("a.zip", CONTENT), version="1", **stated)
    get(source, tmp_path)
    (tmp_path / "a.zip").unlink()
    site.put("a.zip", b"changed" * 1000)
    with pytest.raises(DownloadError, match=r"expected by (the catalog|checksums.json, where it was first seen)"):
        get(source, tmp_path)
    assert not (tmp_path / "a.zip").exists()
    assert get(Source("a.zip", source.url, version="2"), tmp_path) == b"changed" * 1000, (
        "a new version has a new record"
    )


def test_full_checksum_of_the_catalog_overrides_an_old_record(site: Site, tmp_path: Path) -> None:
    """An old record must not block a checksum corrected in the catalog."""
    url = site.put("a.zip", b"before")
    get(Source("a.zip", url), tmp_path)
    (tmp_path / "a.zip").unlink()
    site.put("a.zip", CONTENT)
    assert get(Source("a.zip", url, sha256=SHA256), tmp_path) == CONTENT


KILLED = """
import sys
from pathlib import Path
from deflect.data.fetch.file import fetch_file
from deflect.data.fetch.sources import Source
fetch_file(Source("a.zip", sys.argv[1], sha256=sys.argv[2]), Path(sys.argv[3]))
"""


def test_killed_in_the_middle_of_fetch(site: Site, tmp_path: Path) -> None:
    url = site.put("a.zip", CONTENT, "slow")
    child = subprocess.Popen([sys.executable, "-c", KILLED, url, SHA256, str(tmp_path)])
    part = tmp_path / ".a.zip.part"
    deadline = time.monotonic() + 20
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert 0 < part.stat().st_size < len(CONTENT)
    assert not (tmp_path / "a.zip").exists()
    assert get(Source("a.zip", url, sha256=SHA256), tmp_path) == CONTENT
    assert site.log[-1][2] == 206, "the part was used"


def test_concurrent_fetches_download_once(site: Site, tmp_path: Path) -> None:
    source = Source("a.zip", site.put("a.zip", CONTENT, "slow"), sha256=SHA256)
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(get(source, tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT] * 3
    assert len(site.log) == 1


@pytest.fixture
def drive(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """gdown with the loopback site in place of Google Drive, and without pauses."""
    send = requests.Session.send

    def send_to_site(session: requests.Session, request: requests.PreparedRequest, **settings: object):
        request.url = request.url.replace("https://drive.google.com", f"http://127.0.0.1:{site.port}")
        return send(session, request, **settings)

    monkeypatch.setattr(requests.Session, "send", send_to_site)
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    monkeypatch.setattr(import_module("gdown.download"), "DEFAULT_COOKIES_FILE", str(tmp_path / "cookies/cookies.json"))
    return site


def test_google_drive_file_or_reason(drive: Site, tmp_path: Path) -> None:
    drive.put("uc?id=gone", CONTENT, *["quota"] * 9)
    drive.put("uc?id=here", CONTENT, "cut")
    assert get(Source("a.pth", "gdrive:gone", archive_url="gdrive:here", md5=MD5), tmp_path) == CONTENT
    assert drive.ranges("uc?id=here") == ["", f"bytes={len(CONTENT) // 2}-"]
    with pytest.raises(DownloadError, match=r"gdrive:gone: Google Drive gives no file .*Too many users"):
        get(Source("b.pth", "gdrive:gone"), tmp_path)
    assert left_in(tmp_path) == ["a.pth"]


def test_google_drive_is_resumed_only_with_a_checksum(drive: Site, tmp_path: Path) -> None:
    for name, facts, resumed in (("a", {"md5": MD5}, True), ("b", {}, False)):
        drive.put(f"uc?id={name}", CONTENT, "cut", *["nothing"] * 9)
        with pytest.raises(DownloadError, match="incomplete"):
            get(Source(name, f"gdrive:{name}", **facts), tmp_path)
        drive.put(f"uc?id={name}", CONTENT)
        assert get(Source(name, f"gdrive:{name}", **facts), tmp_path) == CONTENT
        assert (drive.ranges(f"uc?id={name}")[-1] != "") is resumed


def test_a_disk_too_small_for_a_file_of_google_drive(drive: Site, tmp_path: Path, monkeypatch) -> None:
    usage = disk.shutil.disk_usage(tmp_path)._replace(free=disk.RESERVE + 1000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    drive.put("uc?id=here", CONTENT)
    with pytest.raises(DataError, match=r"67\.1 MB free"):
        get(Source("a.pth", "gdrive:here"), tmp_path)


def test_a_silent_google_drive_is_retried(drive: Site, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    drive.put("uc?id=here", CONTENT, "silent")
    assert get(Source("a.pth", "gdrive:here"), tmp_path) == CONTENT


def test_hugging_face_uses_the_users_endpoint_and_token(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("datasets/a/b/resolve/0123/m.zip", CONTENT, "cut")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{site.port}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    source = Source("m.zip", "https://huggingface.co/datasets/a/b/resolve/0123/m.zip", sha256=SHA256)
    assert get(source, tmp_path) == CONTENT
    assert site.tokens == ["Bearer hf_secret"] * 2
    get(Source("a.zip", site.put("a.zip", CONTENT)), tmp_path)
    assert site.tokens[2:] == [""], "nobody else gets the token"


def test_retry_after_of_a_busy_server_is_respected(site: Site, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(download, "LONGEST_PAUSE", 60.0)
    pauses: list[float] = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    assert get(Source("a.zip", site.put("a.zip", CONTENT, "500", "busy")), tmp_path) == CONTENT
    assert [pause for pause in pauses if pause] == [0.01, 7.0]


def test_a_file_system_without_locks_is_used_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuses(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", refuses)
    with lock(tmp_path, "file"):
        pass
    assert "no locks (Function not implemented); start one process at a time" in caplog.text


def test_a_log_shows_the_progress_of_a_download(drive: Site, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("deflect.progress.PAUSE", 0.0)
    drive.put("uc?id=here", CONTENT)
    for name, url in (("a.zip", drive.put("a.zip", CONTENT)), ("b.pth", "gdrive:here")):
        get(Source(name, url, sha256=SHA256), tmp_path)
        assert re.search(rf"^{name}: \S+ of 1.05M B in 00:00, ", capsys.readouterr().err, re.MULTILINE)
