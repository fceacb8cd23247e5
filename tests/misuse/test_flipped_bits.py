"""One flipped bit in each kind of file is refused with the name of the file, or changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_store import tiny_spec

from deflect.analysis.bootstrap import image_results
from deflect.analysis.figures.importance import feature_shares
from deflect.data.card import read_ids
from deflect.data.store import Store
from deflect.errors import DeflectError
from deflect.gfms import build, card_of, gfm_card, load_gfm
from deflect.gfms.convert import save_weights
from deflect.methods import load_adapter
from deflect.record import read_record, run_file
from deflect.trained.evaluate import evaluate
from deflect.training.run import train

FLIPS = 6


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights, a store and a run of DEFLECT on them."""
    root = tmp_path_factory.mktemp("finished")
    torch.manual_seed(0)
    gfm = build(gfm_card("scale_mae", "mini"))
    save_weights(gfm.state_dict(), card_of(gfm), root / "weights.safetensors", {})
    train(spec_of(root))
    return root


def spec_of(root: Path) -> Any:
    return tiny_spec(root, "segmentation", "deflect", epochs=1, weights=root / "weights.safetensors", out=root / "run")


def trained(root: Path) -> Any:
    shutil.rmtree(root / "again", ignore_errors=True)
    return train(replace(spec_of(root), out=root / "again"))["metrics"]


def counted(root: Path) -> Any:
    return image_results(root / "run", read_record(root / "run"))[1].tolist()


def evaluated(root: Path) -> Any:
    return evaluate(root / "run", root / "stores/segmentation", root / "weights.safetensors").found


def prepared(root: Path) -> Any:
    store = Store(root / "stores/segmentation")
    store.verify()
    return [read_ids(store.folder, split) for split in store.card.splits], store.card


def loaded(root: Path) -> Any:
    return load_gfm("scale_mae", root / "weights.safetensors", size="mini", img_size=32)


def weights(root: Path) -> Any:
    gfm = loaded(root)
    return {name: value.tolist() for name, value in gfm.state_dict().items()}, gfm.card


def adapter(root: Path) -> Any:
    """The adapter as a user of the library loads it, without the record."""
    return {name: value.tolist() for name, value in load_adapter(loaded(root), root / "run").adapter_state().items()}


def shares(root: Path) -> Any:
    return feature_shares(root / "run", read_record(root / "run"))


def file_of_run(root: Path, name: str) -> Path:
    return run_file(root / "run", name, read_record(root / "run"))


def arrays(name: str) -> Callable[[Path], Any]:
    def read(root: Path) -> Any:
        with np.load(file_of_run(root, name)) as file:
            return {key: file[key].tolist() for key in file.files}

    return read


STORE = "stores/segmentation/"
READERS: dict[str, list[Callable[[Path], Any]]] = {
    f"{STORE}train.images.npy": [prepared, trained],
    f"{STORE}test.labels.npy": [prepared, evaluated],
    f"{STORE}val.ids.txt": [prepared],
    f"{STORE}store.json": [prepared, evaluated],
    "weights.safetensors": [weights, evaluated],
    "weights.json": [weights],
    "run/record.json": [lambda root: read_record(root / "run"), evaluated],
    "run/adapter.safetensors": [adapter, evaluated, shares],
    "run/adapter.json": [adapter, evaluated, shares],
    "run/head.safetensors": [evaluated, lambda root: load_file(file_of_run(root, "head.safetensors")).keys()],
    "run/history.csv": [lambda root: file_of_run(root, "history.csv").read_text()],
    "run/predictions.npz": [arrays("predictions.npz"), counted],
    "run/deflection.npz": [arrays("deflection.npz")],
}


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_refused_or_harmless(finished: Path, tmp_path: Path, name: str) -> None:
    root = tmp_path / "copy"
    shutil.copytree(finished, root)
    path, refused = root / name, 0
    whole = path.read_bytes()
    for reader in READERS[name]:
        good = reader(root)
        for place in np.random.default_rng(0).choice(8 * len(whole), FLIPS, replace=False).tolist():
            flipped = bytearray(whole)
            flipped[place // 8] ^= 1 << place % 8
            path.write_bytes(flipped)
            message = error_of(reader, root, good)
            assert message == "" or (path.name in message and "\n" not in message)
            refused += message != ""
        path.write_bytes(whole)
    assert refused >= len(READERS[name]) * FLIPS // 2


def error_of(reader: Callable[[Path], Any], root: Path, good: Any) -> str:
    """The error of the reader; empty if it returns the same as for the undamaged file."""
    try:
        assert reader(root) == good
    except DeflectError as error:
        return str(error)
    return ""
