"""Labels are read from GEO-Bench's pickles without executing anything."""

from __future__ import annotations

import builtins
import os
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from paths import FIXTURES

from deflect.data.readers import read
from deflect.data.readers.geobench_pickle import LONGEST, read_label
from deflect.errors import DataError

FIXTURE = FIXTURES / "geobench"
PATH = Path("folder/id_0001.hdf5")


def text(record: Any, protocol: int = 4) -> str:
    return str(pickle.dumps(record, protocol))


class Runs:
    """Calls ``function(*arguments)`` when unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("label", [0, 3, 16, 255, 256, 300, 70000, -1])
def test_label_of_a_record(label: int, protocol: int) -> None:
    record = {"label": label, "a": {"date": None, "label": 7}, "bands_order": ["a", "b_2014-01-01"]}
    assert read_label(text(record, protocol), PATH) == label


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int32, np.int16])
def test_label_as_numpy_scalar(kind: type) -> None:
    assert read_label(text({"label": kind(200 % 128), "x": 1}), PATH) == 200 % 128


def test_label_after_other_entries_and_shared_strings() -> None:
    name = "label "
    record = {"x": {"name": name, "label": 9}, name: 1, "bands_order": [name], "label": 4}
    assert read_label(text(record), PATH) == 4


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("kind", ["i8", "i4", "i2", "i1", "u1", "u8"])
def test_labels_of_several_classes(kind: str, protocol: int) -> None:
    several = np.arange(43) % 3 == 1
    found = read_label(text({"label": several.astype(kind), "x": np.arange(3.0)}, protocol), PATH)
    assert found.tolist() == several.astype(int).tolist()
    assert found.dtype.kind == kind[0]


def test_arrays_that_share_their_dtype() -> None:
    """The second is pickled as a reference to the first one's dtype, whose state was set after it was noted."""
    record = {"a": np.arange(5), "label": np.array([0, 1, 1]), "b": np.int64(7)}
    assert read_label(text(record), PATH).tolist() == [0, 1, 1]


@pytest.mark.parametrize(("dataset", "label"), [("m-so2sat", 16), ("m-brick-kiln", 1), ("m-forestnet", 11)])
def test_files_of_the_geobench_writer(dataset: str, label: int) -> None:
    (path,) = (FIXTURE / dataset).glob("*.hdf5")
    with h5py.File(path) as file:
        assert read_label(file.attrs["pickle"], path) == label


HOSTILE = {
    "os.system": {"label": 1, "x": Runs(os.system, "touch PROOF")},
    "eval": {"label": Runs(eval, "open('PROOF', 'w')")},
    "exec": Runs(builtins.exec, "open('PROOF', 'w')"),
    "open": {"label": 1, "x": Runs(open, "PROOF", "w")},
    "a pickle in a pickle": {"label": 1, "x": Runs(pickle.loads, pickle.dumps(Runs(os.system, "touch PROOF")))},
    "getattr": {"label": 1, "x": Runs(getattr, 1, "real")},
    "numpy load": {"label": 1, "x": Runs(np.load, "PROOF")},
    "array of objects": {"label": np.array([Runs(os.system, "touch PROOF"), 1], dtype=object)},
    "state of an array": {"label": [np.array([0, 1]), Runs(os.system, "touch PROOF")]},
    "subclass of an array": {"label": np.array([0, 1]).view(np.memmap)},
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_and_nothing_runs(
    name: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"id_0001\.hdf5: .* refused, nothing was executed") as error:
        read_label(text(HOSTILE[name], protocol), PATH)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def changed_row(old: bytes, new: bytes) -> str:
    """A label of the three numbers 0, 1, 1 as NumPy pickles it, with one change."""
    row = pickle.dumps({"label": np.array([0, 1, 1])}, 4)
    assert read_label(str(row), PATH).tolist() == [0, 1, 1]
    assert row.count(old) == 1
    return str(row.replace(old, new))


MALFORMED = {
    "no attribute": None,
    "not text": np.bytes_(b"abc"),
    "no literal": "label: 3",
    "a call in the text": "b''.__class__.__mro__",
    "code after the literal": "b'a' + b'b'",
    "too long": "b'" + "a" * LONGEST + "'",
    "deeply nested text": "b'" + "(" * 100_000,
    "truncated": text({"label": 3, "x": list(range(50))})[:-20] + "'",
    "empty": "b''",
    "something after the end": str(pickle.dumps({"label": 3}) + b"junk"),
    "a list": text([1, 2]),
    "float label": text({"label": 1.0}),
    "text label": text({"label": "1"}),
    "true label": text({"label": True}),
    "numpy float label": text({"label": np.float64(1.0)}),
    "floats": text({"label": np.array([0.0, 1.0])}),
    "truth values": text({"label": np.array([True, False])}),
    "objects": text({"label": np.array([1, None], dtype=object)}),
    "big-endian integers": text({"label": np.array([0, 1], dtype=">i8")}),
    "named fields": text({"label": np.zeros(2, dtype=[("a", "i8")])}),
    "two rows": text({"label": np.zeros((2, 3), dtype=int)}),
    "no row": text({"label": np.array(3)}),
    "label of a list": text({"label": [0, 1, 0]}),
    "more numbers than stated": changed_row(b"K\x03\x85", b"K\x02\x85"),
    "fewer numbers than stated": changed_row(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
    "half a number": changed_row(b"C\x18" + bytes(8), b"C\x17" + bytes(7)),
    "a type without a state": changed_row(b"K\x00t\x94b\x89", b"K\x00t\x940\x89"),
    "a state that is no state": str(b"\x80\x04}(\x8c\x05labelK\x01K\x02bu."),
    "a state of nothing": str(b"\x80\x04K\x02b."),
    "two labels": str(b"\x80\x04}(\x8c\x05labelK\x01\x8c\x05labelK\x02u."),
    "unknown memo": str(b"\x80\x04}(\x8c\x05labelh\x63u."),
    "empty stack": str(b"\x80\x04\x86."),
    "mark missing": str(b"\x80\x04K\x01K\x02u."),
    "opcode outside the list": str(b"\x80\x04}(\x8c\x05labelK\x012u."),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_attributes_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"id_0001\.hdf5") as error:
        read_label(MALFORMED[name], PATH)
    assert "\n" not in str(error.value)


def test_deeply_nested_values_are_read() -> None:
    deep = b"(" + b"\x8c\x01x" + b"]" * 200_000 + b"a" * 199_999 + b"\x8c\x05labelK\x05u."
    assert read_label(str(b"\x80\x04}" + deep), PATH) == 5


def test_a_key_that_takes_forever_to_hash() -> None:
    # t0 = (); t(i+1) = (t(i), t(i)); the dict is {t60: 1, "label": 5}
    doubled = b"".join(b"h" + bytes([i]) + b"\x86\x94" for i in range(60))
    assert read_label(str(b"\x80\x04}()\x94" + doubled + b"K\x01\x8c\x05labelK\x05u."), PATH) == 5


def test_a_memo_entry_of_a_high_number_takes_no_memory() -> None:
    assert read_label(str(b"\x80\x04}(\x8c\x05labelK\x05r\xf0\xff\xff\xffu."), PATH) == 5


@pytest.mark.parametrize("opcode", [b"B", b"X", b"\x95"], ids=["bytes", "text", "frame"])
def test_a_length_beyond_the_end_is_refused(opcode: bytes) -> None:
    with pytest.raises(DataError):
        read_label(str(b"\x80\x04}(\x8c\x05label" + opcode + b"\xff\xff\xff\xffu."), PATH)


def test_a_hostile_file_is_named(tmp_path: Path) -> None:
    source = FIXTURE / "m-so2sat"
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "id_0003.hdf5", "r+") as file:
        file.attrs["pickle"] = text(HOSTILE["os.system"])
    with pytest.raises(DataError, match=r"id_0003\.hdf5"):
        read("so2sat", tmp_path, "train").load(0)
