"""Export a network to one file that runs without this library: a program of PyTorch (``pt2``) or ONNX.

A recorder sees operations of torch only. A result of NumPy, or a value that Python keeps, is silently a constant of the
recording. So the written file is loaded and compared with the network on images that the recorder did not see, in
batches of other sizes, and gets its name only if they agree.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import deflect
from deflect.errors import DeflectError, ModelError, flat
from deflect.files import atomic_path, sha256_file
from deflect.record import NAME
from deflect.settings import PIXEL_TASKS, REGRESSIONS
from deflect.trained.model import TrainedModel
from deflect.training.model import input_gsd

Format = Literal["pt2", "onnx"]
#: Largest difference of an output that rounding may cause, as a fraction of the largest output.
TOLERANCE = 1e-5
#: Sizes of the batches that file and network are compared on; the recorder sees two images.
BATCHES = (3, 1)
#: Where a file keeps its ``about``, as JSON: an extra file of ``pt2``, a metadata property of ONNX.
ABOUT = "deflect.json"
#: ONNX keeps weights up to 2 GiB in its own file; the exporter of torch puts more than this in a second file.
ONNX_BYTES = 3 << 29


def export_run(run: TrainedModel, to: Format, out: Path, tolerance: float = TOLERANCE) -> float:
    """Write the network of a trained model to ``out``; as ``export``, with the facts of the run in the file."""
    return export(run.network, run.random_images(2), to, out, _facts(run), tolerance)


def export(
    network: nn.Module,
    example: Tensor,
    to: Format,
    out: Path,
    about: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> float:
    """Write ``network`` in evaluation mode to ``out``, for CPUs, with a batch of any size.

    The file has one input, ``reflectance``, one output, ``logits``, and every parameter of the network.

    Args:
        network: images (B, C, H, W) -> one tensor (B, ...). It is copied, so its device and its mode remain.
        example: two or more typical images; the file takes images of this height and width.
        about: JSON-ready facts for the file.
        tolerance: largest difference of an output that rounding may cause, as a fraction of the largest output.

    Returns:
        The largest difference from the network's outputs on unseen images, as a fraction of the largest output.

    Raises:
        ModelError: the network cannot be recorded, or the file's outputs are not the network's. No file is written, and
            an older one remains.
    """
    if to not in _WRITERS:
        raise ModelError(f"export: expected {' or '.join(_WRITERS)}, found {to!r}")
    if to == "onnx":
        _require_onnx(network)
    network, example = copy.deepcopy(network).cpu().eval().requires_grad_(False), example.detach().cpu()
    with torch.no_grad(), atomic_path(out) as aside:
        unseen = [lookalikes(example, n) for n in BATCHES]
        wanted = [network(images) for images in unseen]  # before recording: wrong images have a message of their own
        with _quiet(), _one_line(f"{out}: not written: this network cannot be recorded for {to}"):
            run = _WRITERS[to](_record(network, example), aside, json.dumps(dict(about or {})))
            difference = max(_difference(run(images), logits) for images, logits in zip(unseen, wanted, strict=True))
        if difference > tolerance:
            own = _difference(torch.cat([network(image[None]) for image in unseen[0]]), wanted[0])
            raise ModelError(
                f"{out}: not written: on unseen images outputs differ from the network's by {difference:.2g} of the "
                f"largest, expected at most {tolerance:g}; the network's own differ by {own:.2g} between batches of "
                f"{BATCHES[0]} and 1. If that is as much, it is rounding, and a larger tolerance allows it; else the "
                "forward pass uses NumPy or a value kept by Python, which is constant in a recording"
            )
    return difference


def _record(network: nn.Module, example: Tensor) -> ExportedProgram:
    program = torch.export.export(network, (example,), dynamic_shapes=({0: Dim("batch")},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # has paths of this machine
    return program


def lookalikes(example: Tensor, n: int, seed: int = 0) -> Tensor:
    """Random smooth images (n, C, H, W), with noise, of the mean and standard deviation of every band of ``example``.

    They have a corner without data (0), a row brighter than any surface, and a column slightly below zero.
    """
    generator = torch.Generator().manual_seed(seed + n)
    channels, height, width = example.shape[1:]
    smooth = F.interpolate(torch.randn(n, channels, 4, 4, generator=generator), (height, width), mode="bilinear")
    noise = torch.randn(n, channels, height, width, generator=generator)
    std, mean = torch.std_mean(example, dim=(0, 2, 3), keepdim=True)
    found = (mean + std * (smooth + 0.3 * noise)).clamp_min(0)
    found[..., -1, :], found[..., -1] = 2.0, -0.02
    found[..., : height // 4, : width // 4] = 0
    return found.to(example.dtype)


def _facts(run: TrainedModel) -> dict[str, Any]:
    """What the file says of itself."""
    images, record, size = run.images, run.record, run.image_size
    return {
        "made_by": f"deflect {deflect.__version__}, torch {torch.__version__}",
        "record_sha256": sha256_file(run.folder / NAME),
        **{key: record[key] for key in ("dataset", "gfm", "method", "seed", "task", "simulated")},
        "gfm_licence": run.gfm.licence,
        "sensor": images.bands.sensor,
        "bands": [asdict(band) for band in images.bands],
        "classes": list(images.classes),
        "reflectance": {
            "shape": ["batch", len(images.bands), size, size],
            "dtype": "float32",
            "unit": "reflectance, about 0 to 1; 0 in every band where nothing was measured",
            "gsd": input_gsd(images, run.context.settings),
        },
        "logits": {"shape": ["batch", len(images.classes), *[size, size] * (images.task in PIXEL_TASKS)]}
        | ({"meaning": f"no logits but {images.classes[0]}"} if images.task in REGRESSIONS else {}),
    }


def _difference(found: Tensor, wanted: Tensor) -> float:
    """The largest difference as a fraction of the largest value; infinite where one of the two has NaN."""
    if found.shape != wanted.shape:
        return math.inf
    difference = float((found - wanted).abs().max() / wanted.abs().max())
    return math.inf if math.isnan(difference) else difference


def _write_pt2(program: ExportedProgram, path: Path, about: str) -> Callable[[Tensor], Tensor]:
    with open(path, "wb") as file:
        torch.export.save(program, file, extra_files={ABOUT: about})
    with open(path, "rb") as file:
        return torch.export.load(file).module()


def _write_onnx(program: ExportedProgram, path: Path, about: str) -> Callable[[Tensor], Tensor]:
    import onnx
    from onnxruntime import InferenceSession

    names: dict[str, Any] = {"input_names": ["reflectance"], "output_names": ["logits"]}
    written: Any = torch.onnx.export(program, **names, dynamic_shapes=({0: "batch"},), verbose=False)
    written.model.metadata_props[ABOUT] = about
    written.save(path, external_data=False)
    onnx.checker.check_model(path, full_check=True)
    session = InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"reflectance": images.numpy()})[0])


_WRITERS: dict[str, Callable[[ExportedProgram, Path, str], Callable[[Tensor], Tensor]]] = {
    "pt2": _write_pt2,
    "onnx": _write_onnx,
}


def _require_onnx(network: nn.Module) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if find_spec(package) is None:
            raise ModelError(f"ONNX: {package} is not installed; run `pip install 'deflect-gfm[export]'`")
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > ONNX_BYTES:
        raise ModelError(f"ONNX: {size / 1e9:.1f} GB of weights do not fit in one file; export to pt2")


@contextmanager
def _one_line(what: str) -> Iterator[None]:
    """Errors of recorders, of many classes and lines, as one line."""
    try:
        yield
    except (DeflectError, OSError):
        raise
    except Exception as error:
        first = error  # exporters wrap it several times
        while isinstance(first.__cause__, Exception):
            first = first.__cause__
        raise ModelError(f"{what}: {flat(first)[:300]}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters log and warn of their own workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
