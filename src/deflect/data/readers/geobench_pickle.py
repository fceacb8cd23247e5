"""The ``pickle`` attribute of a GEO-Bench HDF5 file, read without importing or calling anything that it names.

The label of a GEO-Bench sample is only in a pickled dict, stored as the text of a bytes literal. Unpickling it would
run any code in the file. Here Python's own unpickler accepts only the opcodes that GEO-Bench writes, keeps a class as
its name, a call as its arguments and the state of its result, and a dict as its pairs. Of arrays it reads one kind, a
row of little-endian integers, which is how multi-label data have one 0 or 1 per class.

The C ``pickle.Unpickler`` with a restricted ``find_class`` is less safe: it hashes the keys of dicts, which may take
forever for nested tuples, and allocates as many memo entries as the file claims.
"""

from __future__ import annotations

import ast
import io
import pickle
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from deflect.errors import DataError, flat

#: Maximum length of the attribute. ForestNet's largest pickle has 169,322 bytes; an escape takes up to 4 characters.
LONGEST = 1 << 20
#: Classes in the attributes of the published files, under the old module names of GEO-Bench too (ccb.io, geobench.io).
KNOWN = re.compile(
    r"(geobench|geobench\.io|ccb\.io|geobench\.dataset|geobench\.io\.dataset|ccb\.io\.dataset) [A-Z]\w*"
    r"|affine Affine|datetime (date|datetime)|rasterio\.crs CRS|collections OrderedDict"
    r"|numpy\.(core|_core)\.multiarray (_reconstruct|scalar)|numpy (dtype|ndarray)"
)
#: Errors of Python's unpickler on bytes that are not a pickle or are truncated.
MALFORMED = pickle.UnpicklingError, struct.error, EOFError, ValueError, TypeError, LookupError, AttributeError
#: Opcodes that GEO-Bench writes and that are handled as Python does.
OPCODES = (
    "PROTO STOP MARK MEMOIZE BINPUT LONG_BINPUT BINGET LONG_BINGET GLOBAL STACK_GLOBAL NONE NEWTRUE NEWFALSE BININT "
    "BININT1 BININT2 LONG1 BINFLOAT SHORT_BINUNICODE BINUNICODE SHORT_BINBYTES BINBYTES EMPTY_LIST APPEND APPENDS "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS"
)


@dataclass(frozen=True, eq=False)
class _Class:
    """The name of a class, not the class."""

    name: str


@dataclass(eq=False)
class _Call:
    """A function and its arguments, never called, and the state that its result would get."""

    function: Any
    arguments: Any
    state: Any = None


class _Pairs:
    """A dict as pairs; keys are never hashed, since hashing a hostile key may take forever."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Any, Any]] = []

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))

    def get(self, key: str) -> Any:
        found = [value for name, value in self.pairs if isinstance(name, str) and name == key]
        if len(found) > 1:
            raise ValueError(f"key {key!r} occurs {len(found)} times")
        return found[0] if found else None


def _note_call(reader: Any) -> None:
    arguments = reader.stack.pop()
    reader.stack.append(_Call(reader.stack.pop(), arguments))


def _note_state(reader: Any) -> None:
    state = reader.stack.pop()
    reader.stack[-1].state = state  # an AttributeError where there is no call


class _Reader(pickle._Unpickler):
    """Python's unpickler with a restricted table of opcodes."""

    stack: list[Any]
    metastack: list[list[Any]]
    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in OPCODES.split())
    }
    dispatch[pickle.FRAME[0]] = lambda self: self.read(8)  # skip the length; frames only speed up reading from files
    dispatch[pickle.EMPTY_DICT[0]] = lambda self: self.append(_Pairs())
    dispatch[pickle.BUILD[0]] = _note_state  # the object is never created
    dispatch[pickle.REDUCE[0]] = dispatch[pickle.NEWOBJ[0]] = _note_call

    def find_class(self, module: str, name: str) -> _Class:
        if not KNOWN.fullmatch(f"{module} {name}"):
            raise ValueError(f"it names {f'{module}.{name}'[:80]!r}")
        return _Class(f"{module} {name}")


def read_label(text: Any, path: Path) -> int | np.ndarray | None:
    """The label in the attribute ``text`` of the file ``path``.

    It is a class, integers (K,) if an image has several classes, or ``None`` if the label is an image.
    """
    try:
        file = io.BytesIO(_literal(text))
        reader = _Reader(file)
        record = reader.load()
        if file.read(1) or reader.stack or reader.metastack:
            raise ValueError("something follows the record")
        if not isinstance(record, _Pairs):
            raise ValueError("the record is not a dict")
        return _label(record.get("label"))
    except MALFORMED as error:
        reason = flat(error) if isinstance(error, ValueError) else "it is malformed, or no pickle of GEO-Bench"
        message = f"{path}: attribute 'pickle' refused, nothing was executed: {reason}"
        raise DataError(f"{message}; fetch the file again from its source") from error


def _literal(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"expected text, found {type(text).__name__}")
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters, at most {LONGEST} expected")
    try:
        raw = ast.literal_eval(text) if text.startswith(("b'", 'b"')) else None
    except (SyntaxError, MemoryError, RecursionError):
        raw = None
    if not isinstance(raw, bytes):
        raise ValueError("not the text of a bytes literal")
    return raw


def _label(value: Any) -> int | np.ndarray | None:
    """An integer as pickled by Python or NumPy, or NumPy's array of a row of integers; ``None`` stays ``None``."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match value:
        case _Call(_Class(name), (kind, bytes(digits))) if name.endswith("multiarray scalar"):
            return int(_integers(kind, digits, 1)[0])
        case _Call(_Class(name), _, (1, (int(count),), kind, False, bytes(digits))) if name.endswith(" _reconstruct"):
            return _integers(kind, digits, count)
    raise ValueError(f"the label is no integer and no row of integers but a {type(value).__name__.strip('_').lower()}")


def _integers(kind: Any, digits: bytes, count: int) -> np.ndarray:
    """The ``count`` integers in ``digits``; ``kind`` is their pickled dtype."""
    match kind:
        case _Call(_Class("numpy dtype"), (str(code), *_), (_, "<" | "|", *_)) if re.fullmatch("[iu][1248]", code):
            found = np.frombuffer(digits, f"<{code}")
            if len(found) == count:
                return found
            raise ValueError(f"the label has {len(found)} numbers, not {count}")
    raise ValueError("the numbers of the label are no little-endian integers")
