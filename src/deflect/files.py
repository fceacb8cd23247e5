"""Read and write files: no partial file gets its final name, and damaged files are detected."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from deflect.errors import DeflectError, flat

if TYPE_CHECKING:
    from torch import Tensor

#: Maximum size in bytes of a text file. Objects parsed from JSON take up to 30 times the memory of their text.
LONGEST_TEXT = 32 << 20
LONGEST_YAML = 1 << 20
#: Maximum number of nodes of a YAML text, aliases expanded; the project's largest file has a few thousand.
MOST_NODES = 100_000
#: Key of a sealed JSON file that holds the hash of all other keys.
SEAL = "seal"
CHUNK = 4 << 20
#: Size from which hashes are cached; smaller files take a few milliseconds.
WORTH_CACHING = 4 << 20
#: Nanoseconds after a change in which a file may change again without a new time stamp.
TOO_NEW = 2_000_000_000


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path``; it gets the final name only if the block ends without an error.

    The sibling may be a file or a folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield aside
        if aside.is_dir() and path.is_dir():
            shutil.rmtree(path)
        os.replace(aside, path)
    except OSError as error:
        error.filename = error.filename or str(path)  # missing if the disk is full
        raise
    finally:
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < WORTH_CACHING:
            return hashlib.file_digest(file, "sha256").hexdigest()
        from deflect.progress import bar  # tqdm takes 20 ms to import

        digest = hashlib.sha256()
        with bar(f"reading {path}", size, unit="B") as shown:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                shown.update(len(chunk))
    return digest.hexdigest()


def sha256_once(path: Path) -> str:
    """SHA-256 of a file, cached on disk until its size, times or inode change."""
    state = _state(path)
    entry = cache_folder("sha256") / f"{sha256_json(str(Path(path).resolve()))[:32]}.json"
    with suppress(OSError, ValueError):
        cached = read_json(entry)
        if cached["state"] == state:
            return str(cached["sha256"])
    found = sha256_file(path)
    if state == _state(path) and state["size"] >= WORTH_CACHING and time.time_ns() - state["ctime_ns"] > TOO_NEW:
        with suppress(OSError):
            write_json(entry, {"path": str(path), "state": state, "sha256": found}, seal=True)
    return found


def cache_folder(name: str) -> Path:
    """A folder for files that can be made again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "deflect" / name


def _state(path: Path) -> dict[str, int]:
    """Changes whenever the file is written. Programs cannot reset ``ctime``."""
    found = Path(path).stat()
    return {name: getattr(found, f"st_{name}") for name in ("size", "mtime_ns", "ctime_ns", "ino", "dev")}


def sha256_json(value: Any) -> str:
    """SHA-256 of a JSON-ready value, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def sha256_lines(lines: Iterable[str]) -> str:
    """SHA-256 of texts without line breaks, in their order."""
    digest = hashlib.sha256()
    for line in lines:
        digest.update(f"{line}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


class _EachKeyOnce(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: not valid YAML, a repeated key (YAML itself would keep the last), or too many values, levels or
            aliases.
    """
    try:
        loader = _EachKeyOnce(text)
        node = loader.get_single_node()
        if node is not None and _nodes(node, {}) > MOST_NODES:
            raise yaml.YAMLError(f"more than {MOST_NODES} values once its aliases are written out")
        return None if node is None else loader.construct_document(node)
    except (RecursionError, ValueError) as error:  # such as a number of thousands of digits
        raise yaml.YAMLError(str(error)) from error


def _nodes(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of nodes below ``node``, aliases expanded."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES  # for an alias inside its anchor
        parts = node.value if isinstance(node, yaml.CollectionNode) else []
        inner = [one for part in parts for one in (part if isinstance(part, tuple) else (part,))]
        known[id(node)] = 1 + sum(_nodes(one, known) for one in inner)
    return known[id(node)]


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically, in UTF-8."""
    with atomic_path(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, seal: bool = False) -> None:
    """Write ``value`` with sorted keys, so that equal values give equal bytes.

    ``seal``: add the hash of the content, which ``read_json`` compares.
    """
    if seal:
        value = value | {SEAL: sha256_json(json.loads(json.dumps(value)))}
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: Path, longest: int = LONGEST_TEXT) -> Any:
    """Read a JSON file; the seal of a sealed one is checked and removed.

    Raises:
        DeflectError: not valid JSON, longer than ``longest`` bytes, or it changed since it was sealed.
        FileNotFoundError: there is no such file.
    """
    text = read_text(path, longest)
    try:
        value = json.loads(text, object_pairs_hook=_each_key_once)
    except (ValueError, RecursionError) as error:
        raise DeflectError(f"{path}: not valid JSON ({error}); delete it and make it again") from error
    seal = value.pop(SEAL, None) if isinstance(value, dict) else None
    if seal is not None and seal != sha256_json(value):
        raise DeflectError(
            f"{path}: changed since it was written; make it again, or restore it (if the change was meant, remove "
            f'its entry "{SEAL}")'
        )
    return value


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of ``pairs``; of a repeated key, JSON itself would keep the last."""
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return value


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file. It gets the mode of the user's umask; safetensors allows only the owner to read it.

    Raises:
        DeflectError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    except SafetensorError as error:
        raise DeflectError(f"{path}: cannot be written ({flat(error)}); make room and start again") from error
    path.chmod(mode)


def read_text(path: Path, longest: int = LONGEST_TEXT) -> str:
    """The text of a file.

    Raises:
        DeflectError: not a regular file, longer than ``longest`` bytes, or not UTF-8.
        FileNotFoundError: there is no such file.
    """
    require_file(path, longest)
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DeflectError(f"{path}: expected text in UTF-8, found other bytes at {error.start}; restore it") from error


def require_file(path: Path, longest: int | None = None) -> None:
    """Check that ``path`` is a regular file before opening it; opening a pipe could block forever.

    Raises:
        DeflectError: it is not, or it is longer than ``longest`` bytes.
        FileNotFoundError: it does not exist.
    """
    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or device"
        raise DeflectError(f"{path}: expected a file, found {what}; remove it, or put the file in its place")
    if longest is not None and found.st_size > longest:
        raise DeflectError(f"{path}: expected at most {longest} bytes, found {found.st_size}; it is not the right file")
