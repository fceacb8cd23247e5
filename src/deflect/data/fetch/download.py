"""Download from one address: HTTP with retries and resuming, Google Drive through gdown.

Archives of several GB have to be resumed after a killed process, which neither pooch nor huggingface_hub does;
huggingface_hub provides the user's endpoint (``HF_ENDPOINT``) and token.
"""

from __future__ import annotations

import os
import time
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deflect.data.disk import naming_full_disk, require_space
from deflect.errors import DeflectError, DownloadError, flat
from deflect.progress import bar

if TYPE_CHECKING:
    import requests

RETRIES = 4  # in a row without a new byte
PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before a retry; the pause doubles from the first to the second
TIMEOUT, SLOWEST = 60.0, 1000.0  # a connection below SLOWEST bytes per second for TIMEOUT seconds is broken
CHUNK = 1 << 16  # bytes
MOST = 20_000_000_000  # maximum bytes of a file of unknown size; the largest published one has 4 GB
TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
HUGGING_FACE = "https://huggingface.co/"


def download(url: str, part: Path, *, size: int | None, checked: bool) -> None:
    """Write the file at ``url`` to ``part``, resuming an earlier download.

    Args:
        size: expected bytes, if known.
        checked: the caller compares a checksum afterwards. Otherwise an earlier part is deleted, since it may belong
            to another version of the file.

    Raises:
        DownloadError: the address does not give the file; the message is only the reason.
        DataError: the disk has no room for it.
    """
    for old in [] if checked else part.parent.glob(f"{escape(part.name)}*"):
        old.unlink()
    if url.startswith("gdrive:"):
        _download_from_drive(url.removeprefix("gdrive:"), part, resume=checked)
    elif url.startswith(("https://", "http://")):
        _download_over_http(url, part, size, checked)
    else:
        raise DownloadError("not an http, https or gdrive address")


def _download_over_http(url: str, part: Path, size: int | None, checked: bool) -> None:
    import requests
    from urllib3.exceptions import HTTPError

    url, token = _of_hugging_face(url) if url.startswith(HUGGING_FACE) else (url, {})
    validator, furthest, failures = "", 0, 0
    while True:
        if not (checked or validator):
            part.unlink(missing_ok=True)
        headers = {"Accept-Encoding": "identity"} | token
        if start := _size(part):
            headers |= {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
                validator = _validator(response) if response.ok else validator
                return _receive(response, part, size)
        except DeflectError:
            raise
        except (requests.RequestException, HTTPError, ValueError) as error:  # ValueError: a redirect to no address
            failures = failures + 1 if _size(part) <= furthest else 1
            furthest = max(furthest, _size(part))
            if failures > RETRIES:
                raise DownloadError(f"{flat(error)}; gave up after {RETRIES} retries in a row") from error
            time.sleep(min(max(PAUSE * 2 ** (failures - 1), _retry_after(error)), LONGEST_PAUSE))


def _of_hugging_face(url: str) -> tuple[str, dict[str, str]]:
    """The address at the user's endpoint, and a header with the user's token if there is one."""
    from huggingface_hub import constants, get_token

    token = get_token()
    return url.replace(HUGGING_FACE, f"{constants.ENDPOINT}/"), {"Authorization": f"Bearer {token}"} if token else {}


def _validator(response: requests.Response) -> str:
    """The validator of this version of the file for a range request (RFC 9110, 13.1.5); empty if there is none."""
    tag = response.headers.get("ETag", "")
    if "Content-Encoding" in response.headers:  # ranges count compressed bytes
        return ""
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _retry_after(error: Exception) -> float:
    response = getattr(error, "response", None)
    stated = "" if response is None else response.headers.get("Retry-After", "")
    return float(stated) if stated.isdigit() else 0.0


def _receive(response: requests.Response, part: Path, size: int | None) -> None:
    """Write the response: the whole file, or the rest of it.

    Raises:
        requests.RequestException, urllib3.exceptions.HTTPError: a retry may help.
        DownloadError: a retry would not help.
    """
    import requests

    status, headers = response.status_code, response.headers
    start = _size(part) if status in (206, 416) else 0
    offered = headers.get("Content-Range", "")
    if status == 416 and offered == f"bytes */{start}":
        return  # the part was complete
    if status in (206, 416) and not offered.startswith(f"bytes {start}-"):
        part.unlink(missing_ok=True)
        raise requests.ConnectionError(f"rest of the file expected from byte {start}, the server offers {offered!r}")
    if status in TRANSIENT_STATUS:
        raise requests.HTTPError(f"HTTP {status} {response.reason}", response=response)
    if status not in (200, 206):
        raise DownloadError(f"HTTP {status} {response.reason}")
    if headers.get("Content-Type", "").lower().startswith("text/html"):
        raise DownloadError("a web page instead of the file (moved, or it needs a login)")
    length = "" if "Content-Encoding" in headers else headers.get("Content-Length", "")
    total = start + int(length) if length.isdecimal() else size
    if size is not None and total != size:
        raise DownloadError(f"{size} bytes expected, the server offers {total}")
    require_space(part.parent, (total or 0) - start)
    done = _write(response, part, start, total)
    if total is not None and done != total:
        raise requests.ConnectionError(f"connection ended after {done} of {total} bytes")


def _write(response: requests.Response, part: Path, start: int, total: int | None) -> int:
    """Append the body to the part, at most to ``total`` bytes and at least at ``SLOWEST``; returns the size."""
    import requests

    done, mark, since = start, start, time.monotonic()
    with naming_full_disk(part.parent), open(part, "ab" if start else "wb") as file, _bar(part, total, start) as shown:
        # read1 returns what has arrived; iter_content would wait for a whole chunk
        while chunk := response.raw.read1(CHUNK, decode_content=True):
            done += len(chunk)
            if done > (total or MOST):
                part.unlink()
                raise DownloadError(f"{total or MOST} bytes expected, the server sends more")
            file.write(chunk)
            shown.update(len(chunk))
            if (elapsed := time.monotonic() - since) > TIMEOUT:
                if done - mark < SLOWEST * elapsed:
                    raise requests.Timeout(f"fewer than {SLOWEST:.0f} bytes a second for {elapsed:.0f} s")
                mark, since = done, time.monotonic()
        file.flush()
        os.fsync(file.fileno())  # a power cut must not leave a renamed file without content
    return done


def _bar(part: Path, total: int | None, start: int = 0) -> Any:
    return bar(part.name.strip(".").removesuffix(".part"), total, done=start, unit="B")


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _download_from_drive(file_id: str, part: Path, resume: bool) -> None:
    """Download with gdown, which retries and keeps an unfinished file as ``part`` with another suffix."""
    import gdown

    with _bar(part, None) as shown:

        def progress(done: int, total: int | None) -> None:
            require_space(part.parent, (total or 0) - done)
            if done > MOST:
                raise DownloadError(f"{MOST} bytes expected at most, Google Drive sends more")
            shown.total = total
            shown.update(done - shown.n)

        try:
            with naming_full_disk(part.parent):
                settings: dict[str, Any] = {"retries": RETRIES, "timeout": TIMEOUT, "progress": progress}
                gdown.download(id=file_id, output=str(part), quiet=True, resume=resume, **settings)
        except (gdown.exceptions.DownloadError, OSError) as error:
            raise DownloadError(f"Google Drive gives no file ({flat(error)})") from error
    if not part.exists():
        raise DownloadError("Google Drive gives no file")
