"""Exported files: equal to the network on batches of any size, or refused."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from paths import ROOT
from tiny_gfm import BANDS, STATISTICS, images, stir, tiny
from tiny_store import tiny_spec
from torch import Tensor, nn

import deflect
from deflect.cli import main
from deflect.errors import ModelError
from deflect.files import sha256_file
from deflect.heads import LinearHead, UPerNet
from deflect.methods import adapt
from deflect.settings.methods import CONFIGS
from deflect.spectral import pixel_set
from deflect.trained.export import ABOUT, Format, export
from deflect.training.model import TaskModel
from deflect.training.run import train

PAGE = ROOT / "docs/using_export.part.md"
FORMATS: list[Format] = ["pt2", "onnx"]
METHODS = [*(method for method in CONFIGS if method != "peft"), "peft:dora", "peft:ia3", "peft:vera"]
#: Fewer operations are recorded faster.
FEW = {"features": "indices", "indices": ["NDVI"]}


def network(method: str, task: str = "classification", depth: int = 1) -> TaskModel:
    """A tiny network that has seen no image, with trained parameters that matter."""
    gfm = tiny(depth=depth)
    torch.manual_seed(1)
    settings: dict[str, Any] = {"options": {"r": 4}} if method == "peft:vera" else {}
    if depth == 1 and method in ("deflect", "late_fusion"):
        settings = FEW
    adapted = adapt(gfm, method, BANDS, statistics=STATISTICS, **settings)
    adapted.calibrate([images(gfm, n=4, seed=5)])
    taps = (0, depth - 1) if task == "classification" else (0, 0, depth // 2, depth - 1)
    width = adapted.map_width(len(taps))
    head = LinearHead(width, 2, 5) if task == "classification" else UPerNet(width, 5, channels=16)
    model = TaskModel(adapted, head, taps)
    stir(model)
    return model.eval()


def run_file(path: Path) -> Callable[[Tensor], Tensor]:
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    session = InferenceSession(path)
    return lambda batch: torch.from_numpy(session.run(None, {"reflectance": batch.numpy()})[0])


def facts(path: Path) -> dict[str, Any]:
    files = {ABOUT: ""}
    if path.suffix == ".pt2":
        torch.export.load(path, extra_files=files)
    else:
        files = InferenceSession(path).get_modelmeta().custom_metadata_map
    return json.loads(files[ABOUT])


@torch.no_grad()
def check(model: TaskModel, path: Path) -> None:
    run = run_file(path)
    for n in (5, 1):
        batch = images(model.adapted.gfm, n=n, seed=9)
        wanted = model(batch)
        assert torch.allclose(run(batch), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    batch = images(model.adapted.gfm, n=3)
    batch[1, 2, 9, 9] = torch.nan  # red
    assert run(batch).flatten(1).isnan().any(1).tolist() == [False, True, False], "a missing value is hidden"


@pytest.mark.parametrize(("method", "to"), [("deflect", "pt2"), ("deflect", "onnx"), ("lora", "onnx")])
def test_a_file_has_the_outputs_of_its_network(tmp_path: Path, method: str, to: Format) -> None:
    model = network(method).train()
    path = tmp_path / f"network.{to}"
    assert export(model, images(model.adapted.gfm), to, path) <= 1e-5
    assert model.training
    assert not model.adapted._checked, "the check of the first images is still to come"
    check(model.eval(), path)
    assert str(ROOT).encode() not in path.read_bytes()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("task", ["classification", "segmentation"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_with_both_heads(tmp_path: Path, method: str, task: str, to: Format) -> None:
    model = network(method, task, depth=3)
    path = tmp_path / f"network.{to}"
    export(model, images(model.adapted.gfm), to, path)
    check(model, path)


# ---------------------------------------------------------------------- refused


class Counting(nn.Module):
    """Its outputs depend on a value that Python keeps."""

    calls = 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        return image.mean((2, 3)) * self.calls


class Sorting(nn.Module):
    """Sorts in place with NumPy."""

    def forward(self, image: Tensor) -> Tensor:
        pixels = image.flatten(2).clone()
        pixels.numpy().sort(axis=-1)
        return pixels[..., ::7]


class OfTwo(nn.Module):
    """Takes two images only."""

    def forward(self, image: Tensor) -> Tensor:
        return image.mean((2, 3)).view(2, -1) if len(image) == 2 else image.mean((2, 3))


class Chaotic(nn.Module):
    """Multiplies rounding by a large number."""

    def forward(self, image: Tensor) -> Tensor:
        return (1e7 * image.sum((1, 2, 3))).sin()


REFUSED = [
    (Counting(), "outputs differ from the network's by .* kept by Python"),
    (Sorting(), "cannot be recorded"),
    (OfTwo(), "cannot be recorded"),
]


def refuse(model: nn.Module, path: Path, to: Format, message: str) -> None:
    """No file is written, and an older one is the same."""
    path.write_bytes(b"older")
    batch = torch.rand(2, 8, 32, 32, generator=torch.Generator().manual_seed(0)) / 2
    with pytest.raises(ModelError, match=message) as error:
        export(model, batch, to, path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))
    assert [(file, file.read_bytes()) for file in path.parent.iterdir()] == [(path, b"older")]


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize(("model", "message"), REFUSED, ids=["Counting", "Sorting", "OfTwo"])
def test_a_recording_of_one_image_is_refused(tmp_path: Path, model: nn.Module, message: str, to: Format) -> None:
    refuse(model, tmp_path / "network", to, message)


def test_a_recording_without_the_sort_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sort = pixel_set._sort_
    monkeypatch.setattr(pixel_set, "_sort_", lambda pixels: pixels if pixel_set.recorded() else sort(pixels))
    refuse(network("deflect"), tmp_path / "network.pt2", "pt2", "outputs differ from the network's by")


def test_an_operation_that_onnx_lacks_is_named(tmp_path: Path) -> None:
    class Bessel(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            return torch.special.bessel_j0(image.mean((2, 3)))

    refuse(Bessel(), tmp_path / "network", "onnx", "cannot be recorded for onnx: .*bessel_j0")


def test_rounding_is_allowed_explicitly(tmp_path: Path) -> None:
    refuse(Chaotic(), tmp_path / "network", "onnx", "a larger tolerance allows it")
    assert export(Chaotic(), torch.rand(2, 8, 32, 32), "onnx", tmp_path / "network", tolerance=2) > 1e-5


def test_an_uncalibrated_network_says_so(tmp_path: Path) -> None:
    model = TaskModel(adapt(tiny(), "deflect", BANDS, **FEW), LinearHead(32, 1, 3), [2])
    with pytest.raises(ModelError, match="not standardised yet; call calibrate"):
        export(model, images(model.adapted.gfm), "pt2", tmp_path / "network.pt2")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"onnxruntime is not installed; run `pip install 'deflect-gfm\[export\]'`"):
        export(Counting(), torch.rand(2, 8, 32, 32), "onnx", tmp_path / "network.onnx")


# ---------------------------------------------------------------------- a run


@pytest.mark.parametrize(("task", "to"), [("classification", "onnx"), ("segmentation", "pt2")])
def test_the_file_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str, to: str
) -> None:
    spec = tiny_spec(tmp_path, task, "frozen", epochs=1)
    train(spec)
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(spec.out), "--to", to]) == 0
    path = Path(f"{task}_scale_mae_frozen_seed0.{to}")
    said = capsys.readouterr().out
    assert said.startswith(f"{path}: {path.stat().st_size / 1e6:.1f} MB, the whole network with Scale-MAE (mini)")
    assert "(licence: Apache-2.0)" in said
    assert "(batch, 6, 32, 32) of B02, B03, B04, B08, B11, B12 to logits of 3 classes" in said
    found = facts(path)
    assert found["record_sha256"] == sha256_file(spec.out / "record.json")
    assert [band["name"] for band in found["bands"]] == ["B02", "B03", "B04", "B08", "B11", "B12"]
    assert (found["classes"], found["task"]) == (["class0", "class1", "class2"], task)
    assert found["reflectance"]["shape"] == ["batch", 6, 32, 32]
    store = np.load(spec.store / "test.images.npy")
    batch = torch.from_numpy(store[:7])
    wanted = deflect.load_run(spec.out, device="cpu").predict(batch)
    assert found["logits"]["shape"] == ["batch", *wanted.shape[1:]]
    if to == "onnx":
        session = InferenceSession(path)
        ends = {end.name: end.shape for end in (*session.get_inputs(), *session.get_outputs())}
        assert ends == {name: found[name]["shape"] for name in ("reflectance", "logits")}
    assert torch.allclose(run_file(path)(batch), wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.slow
def test_python_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny_spec(tmp_path, method="frozen", epochs=1)
    train(spec)
    monkeypatch.chdir(tmp_path)
    images = torch.from_numpy(np.load(spec.store / "test.images.npy"))
    write, onnx, pt2 = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    exec(write, {"folder": spec.out, "images": images})
    exec(onnx, found := {"images": images.numpy()})
    exec(pt2, others := {"images": images})
    assert set(found["names"]) <= {"class0", "class1", "class2"}
    assert np.allclose(found["logits"], others["logits"], atol=1e-5)
