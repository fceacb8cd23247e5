"""The ``pickle`` attribute of a GEO-Bench HDF5 file, read without executing anything.

The label of a GEO-Bench sample stands nowhere but in a pickled dict, stored as the text of a bytes literal. Unpickling
it runs whatever the file says. Here the opcodes are read as data instead (`pickletools.genops`): a small stack machine
follows strings, numbers, lists and dicts, and a class or a call is noted but never imported or called. What GEO-Bench
does not write (an opcode, or a class outside the list seen in its files) is refused with the name of the file.
"""

from __future__ import annotations

import ast
import pickletools
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deflect.errors import DeflectError, flat

#: Longest attribute text accepted. ForestNet's largest pickle has 169,322 bytes, and escapes take up to 4 characters.
LONGEST = 1 << 20

#: Every class in the attributes of the published files, with the older module names of GEO-Bench (ccb.io, geobench.io).
_KNOWN = re.compile(
    r"(geobench|geobench\.io|ccb\.io|geobench\.dataset|geobench\.io\.dataset|ccb\.io\.dataset) [A-Z]\w*"
    r"|affine Affine|datetime (date|datetime)|rasterio\.crs CRS|collections OrderedDict"
    r"|numpy\.(core|_core)\.multiarray (_reconstruct|scalar)|numpy (dtype|ndarray)"
)
_PLAIN = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"} | {"SHORT_BINUNICODE", "BINUNICODE"}
_PLAIN |= {"SHORT_BINBYTES", "BINBYTES"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class PickleRefused(DeflectError):
    """The attribute holds something that GEO-Bench does not write."""


@dataclass(frozen=True)
class SampleFacts:
    """What a GEO-Bench attribute says: the class (``None`` if the label is an image) and the HDF5 keys in order."""

    label: int | None
    bands_order: tuple[str, ...]


@dataclass(eq=False)
class _Dict:
    """A dict as pairs: keys are never hashed, so that a hostile key costs nothing."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)

    def get(self, key: str) -> Any:
        found = [value for name, value in self.pairs if isinstance(name, str) and name == key]
        if len(found) > 1:
            raise ValueError(f"key {key!r} occurs {len(found)} times")
        return found[0] if found else None


@dataclass(frozen=True, eq=False)
class _Global:
    """The name of a class, not the class."""

    name: str


@dataclass(frozen=True, eq=False)
class _Call:
    """A call that was not made."""

    function: Any
    arguments: Any


def read_facts(text: Any, path: Path) -> SampleFacts:
    """Label and band order out of the attribute ``text`` of the file ``path``.

    Raises:
        PickleRefused: the text is too long, truncated, no bytes literal, or names anything but GEO-Bench's own classes.
    """
    try:
        record = _follow(_literal(text))
        if not isinstance(record, _Dict):
            raise ValueError("the record is not a dict")
        order = record.get("bands_order") or []
        if not isinstance(order, list) or not all(isinstance(key, str) for key in order):
            raise ValueError("bands_order is not a list of names")
        return SampleFacts(_integer(record.get("label")), tuple(order))
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        reason = flat(error) if isinstance(error, ValueError) else "it is malformed"
        message = f"{path}: attribute 'pickle' refused, nothing was executed: {reason}"
        raise PickleRefused(f"{message}; fetch the file again from its source") from error


def _literal(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"expected text, found {type(text).__name__}")
    if len(text) > LONGEST:
        raise ValueError(f"{len(text)} characters, at most {LONGEST} expected")
    if not text.startswith(("b'", 'b"')):
        raise ValueError("expected the text of a bytes literal")
    try:
        raw = ast.literal_eval(text)
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError("not the text of a bytes literal") from error
    if not isinstance(raw, bytes):
        raise ValueError("not the text of a bytes literal")
    return raw


def _follow(raw: bytes) -> Any:
    """Follow the opcodes to the object they describe."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, position in pickletools.genops(raw):
        match opcode.name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                stack.append(_MARK)
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                memo[_int(argument)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[_int(argument)])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append(_Dict())
            case "TUPLE":
                stack.append(tuple(_to_mark(stack)))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                n = _TUPLES[opcode.name]
                stack.append(tuple([stack.pop() for _ in range(n)][::-1]))
            case "APPEND" | "APPENDS":
                items = [stack.pop()] if opcode.name == "APPEND" else _to_mark(stack)
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = [stack.pop(-2), stack.pop()] if opcode.name == "SETITEM" else _to_mark(stack)
                stack[-1].pairs.extend(zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(_known(str(argument)))
            case "STACK_GLOBAL":
                stack.append(_known(f"{stack.pop(-2)} {stack.pop()}"))
            case "REDUCE" | "NEWOBJ":
                stack.append(_Call(stack.pop(-2), stack.pop()))
            case "BUILD":
                stack.pop()  # the state of an object that is never made
            case "STOP":
                if position != len(raw) - 1 or len(stack) != 1:
                    raise ValueError("something follows the record")
                return stack.pop()
            case name if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case name if name in _PLAIN:
                stack.append(argument)
            case name:
                raise ValueError(f"opcode {name} is not one that GEO-Bench writes")
    raise ValueError("the record has no end")


def _to_mark(stack: list[Any]) -> list[Any]:
    """Pop everything above the last mark, and the mark."""
    start = next(i for i in range(len(stack) - 1, -2, -1) if i == -1 or stack[i] is _MARK)
    if start == -1:
        raise ValueError("a mark is missing")
    items = stack[start + 1 :]
    del stack[start:]
    return items


def _known(name: str) -> _Global:
    if not _KNOWN.fullmatch(name):
        raise ValueError(f"it names {name.replace(' ', '.', 1)!r}")
    return _Global(name)


def _int(argument: Any) -> int:
    return int(argument)


def _integer(value: Any) -> int | None:
    """An integer as Python or as NumPy pickles it; ``None`` where there is no label."""
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    match value:
        case _Call(_Global(scalar), (_Call(_Global("numpy dtype"), (str(kind), *_)), bytes(digits))) if scalar.endswith(
            "multiarray scalar"
        ) and kind[:1] in ("i", "u"):
            return int.from_bytes(digits, "little", signed=kind[0] == "i")
    raise ValueError(f"the label is not an integer but a {type(value).__name__.strip('_').lower()}")
