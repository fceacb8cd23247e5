"""One address to one file: HTTP that resumes after a break and retries with back-off, and Google Drive.

The file written here is a part, never the final one: :mod:`deflect.data.fetch` checks it and gives it its name. What
is known about a part (address and validator) stands beside it in ``*.json``, so that a later process can go on with it
and never joins two versions of a file (``If-Range``, RFC 9110 section 13.1.5).
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deflect.data.disk import naming_full_disk, require_space
from deflect.errors import DeflectError, flat
from deflect.files import read_json, write_json
from deflect.progress import bar

if TYPE_CHECKING:
    import requests

CHUNK = 1 << 16  # what a break in the connection costs at most
MOST = 20_000_000_000  # bytes of a file whose size nobody states; the largest published one has 4 GB
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
HTML = (b"<!doctype html", b"<html")
GOOGLE_DRIVE = ("gdrive:", "https://drive.google.com/")


class DownloadError(DeflectError):
    """An address does not give the file; another address may."""


class _Interrupted(Exception):
    """A break that may heal by itself. ``after`` is the server's wish of a pause, in seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


@dataclass(frozen=True)
class Patience:
    """How often to try again without progress, and how long to wait in seconds.

    The pause doubles from ``pause`` to ``longest_pause``; any progress starts the count again. A connection that
    brings fewer than ``slowest`` bytes per second over ``timeout`` seconds is taken for a broken one.
    """

    retries: int = 4
    pause: float = 1.0
    longest_pause: float = 60.0
    timeout: float = 60.0
    slowest: float = 1000.0


def is_html(path: Path) -> bool:
    """Whether the file is a web page, as servers send it instead of a file that has moved or wants a login."""
    with open(path, "rb") as file:
        return file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(HTML)


def drop_part(part: Path) -> None:
    """Forget a part, so that the next download starts from zero."""
    part.unlink(missing_ok=True)
    _facts(part).unlink(missing_ok=True)


def finish_part(part: Path, target: Path) -> None:
    """Give a checked part its final name."""
    os.replace(part, target)
    _facts(part).unlink(missing_ok=True)


def download(
    url: str, part: Path, *, size: int | None, checked: bool, progress: bool | None, patience: Patience
) -> None:
    """Write the file at ``url`` to ``part``, going on where a former call was cut.

    Args:
        size: expected bytes, or None.
        checked: the caller compares a checksum afterwards, so resuming without a validator is safe.

    Raises:
        DownloadError: this address does not give the file.
        DiskFullError: there is no room for it.
    """
    if url.startswith(GOOGLE_DRIVE):
        _download_from_drive(url, part, progress)
    elif url.startswith(("https://", "http://")):
        _download_with_retries(url, part, size, checked, progress, patience)
    else:
        raise DownloadError(f"{url}: not an http, https or gdrive address")


def _download_with_retries(
    url: str, part: Path, size: int | None, checked: bool, progress: bool | None, patience: Patience
) -> None:
    from requests import ConnectionError, RequestException, Timeout
    from requests.exceptions import ChunkedEncodingError
    from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

    broken = (_Interrupted, ConnectionError, Timeout, ChunkedEncodingError, ProtocolError, ReadTimeoutError)
    failures, furthest = 0, 0
    while True:
        try:
            return _attempt(url, part, size, checked, progress, patience)
        except broken as error:
            reached = _size(part)
            failures = 1 if reached > furthest else failures + 1
            furthest = max(furthest, reached)
            if failures > patience.retries:
                raise DownloadError(f"{url}: {error}; gave up after {patience.retries} retries in a row") from error
            pause = patience.pause * 2 ** (failures - 1)
            time.sleep(min(max(pause, getattr(error, "after", 0.0)), patience.longest_pause))
        except DeflectError:
            raise
        except (RequestException, HTTPError, ValueError) as error:  # the last of an address that it is sent on to
            raise DownloadError(f"{url}: {flat(error)}") from error


def _attempt(url: str, part: Path, size: int | None, checked: bool, progress: bool | None, patience: Patience) -> None:
    """One request, from where the part ends."""
    import requests

    headers = {"Accept-Encoding": "identity"} | _resume_headers(url, part, checked)
    with requests.get(url, headers=headers, stream=True, timeout=patience.timeout) as response:
        if response.status_code == 416 and _already_whole(response, part):
            return
        _refuse(response, url, part)
        start = _start(response, part)
        total = _total(response, start, size)
        if size is not None and total != size:
            raise DownloadError(f"{url}: {size} bytes expected, the server offers {total}")
        require_space(part.parent, (total or 0) - start)
        if start == 0:
            drop_part(part)  # first: the validator of a new version must never stand beside bytes of an old one
        _remember(response, url, part)
        _write(response, part, start, total, progress, patience)
    if total is not None and _size(part) != total:
        raise _Interrupted(f"connection ended after {_size(part)} of {total} bytes")


def _refuse(response: requests.Response, url: str, part: Path) -> None:
    """Raise what a status code or a web page in place of the file calls for."""
    status = f"HTTP {response.status_code} {response.reason}"
    if response.status_code == 416:
        drop_part(part)
        raise _Interrupted(status)
    if response.status_code in PASSING_STATUS:
        after = response.headers.get("Retry-After", "")
        raise _Interrupted(status, float(after) if after.isdigit() else 0.0)
    if response.status_code not in (200, 206):
        raise DownloadError(f"{url}: {status}")
    if response.headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadError(f"{url}: a web page instead of the file (moved, or it wants a login)")


def _start(response: requests.Response, part: Path) -> int:
    """The byte at which the answer begins; 0 where the server sends the whole file."""
    if response.status_code == 200:
        return 0
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if first != str(_size(part)):
        drop_part(part)
        raise _Interrupted(f"the server resumed at byte {first or '?'} instead of where the part ends")
    return int(first)


def _total(response: requests.Response, start: int, size: int | None) -> int | None:
    """Bytes of the whole file, as the server states them; of an answer compressed in transit it states others."""
    length = response.headers.get("Content-Length", "")
    return start + int(length) if length.isdecimal() and not _is_compressed(response) else size


def _is_compressed(response: requests.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity") != "identity"


def _write(
    response: requests.Response, part: Path, start: int, total: int | None, progress: bool | None, patience: Patience
) -> None:
    """Append the answer to the part, not beyond the stated size and not slower than ``patience`` allows."""
    what = part.name.strip(".").removesuffix(".part")
    with naming_full_disk(part.parent), open(part, "ab" if start else "wb") as file:
        with bar(what, total, done=start, unit="B", show=progress) as shown:
            written, mark, since = start, start, time.monotonic()
            # read1 gives what has come; iter_content waits for a whole chunk, however slowly it drips
            while chunk := response.raw.read1(CHUNK, decode_content=True):
                written += len(chunk)
                if written > (total or MOST):
                    drop_part(part)
                    raise DownloadError(f"{response.url}: {total or MOST} bytes expected, the server sends more")
                file.write(chunk)
                shown.update(len(chunk))
                if (elapsed := time.monotonic() - since) > patience.timeout:
                    if written - mark < patience.slowest * elapsed:
                        raise _Interrupted(f"fewer than {patience.slowest:.0f} bytes a second for {elapsed:.0f} s")
                    mark, since = written, time.monotonic()
        file.flush()
        os.fsync(file.fileno())  # or a power cut could leave a renamed file without its content


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _facts(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _remember(response: requests.Response, url: str, part: Path) -> None:
    """Keep the validator of this version of the file; weak entity tags cannot guard a range."""
    tag = response.headers.get("ETag", "")
    validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
    if _is_compressed(response):
        validator = ""  # its bytes are not those of the file, and a range of them could not be joined
    write_json(_facts(part), {"url": url, "validator": validator})


def _resume_headers(url: str, part: Path, checked: bool) -> dict[str, str]:
    """The headers that ask for the rest of ``part``; none, and no part, where joining could mix two versions."""
    have = _size(part)
    facts = read_json(_facts(part)) if _facts(part).exists() else {}
    validator = facts.get("validator", "") if facts.get("url") == url else ""
    if have and (validator or checked):
        return {"Range": f"bytes={have}-"} | ({"If-Range": validator} if validator else {})
    drop_part(part)
    return {}


def _already_whole(response: requests.Response, part: Path) -> bool:
    """Whether "range not satisfiable" means that the part was complete already."""
    return response.headers.get("Content-Range", "") == f"bytes */{_size(part)}"


def _download_from_drive(url: str, part: Path, progress: bool | None) -> None:
    """Google Drive by gdown, which keeps and resumes its own temporary file beside ``part``."""
    import gdown
    from requests import RequestException

    address: dict[str, Any] = {"id": url.removeprefix("gdrive:")} if url.startswith("gdrive:") else {"url": url}
    try:
        quiet = progress is False or not sys.stderr.isatty()
        gdown.download(**address, output=str(part), quiet=quiet, resume=True, retries=2)
    except (gdown.exceptions.DownloadError, RequestException, OSError) as error:
        reason = flat(error)
        raise DownloadError(f"{url}: Google Drive gives no file ({reason})") from error
    if not part.exists():
        raise DownloadError(f"{url}: Google Drive gives no file")
