"""Load a model that `deflect share` wrote, from a folder or from the Hugging Face Hub.

The folder may come from anyone. Only JSON and safetensors are read and nothing in them is executed. The tensors that
JSON describes are compared with those that the files hold before memory is allocated for them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from deflect.data.card import ImageCard
from deflect.errors import DeflectError, ModelError
from deflect.files import read_json, require_file, sha256_once
from deflect.gfms.card import CARDS, GFMCard, gfm_card
from deflect.gfms.vit import build
from deflect.gfms.weights import read_card
from deflect.methods.adapters import CARD, WEIGHTS, adapt_again
from deflect.record import HEAD, NAME, read_record, run_file
from deflect.settings.own_gfm import HUB
from deflect.settings.training import TrainSettings
from deflect.trained.hub import fetch
from deflect.trained.model import TrainedModel, rebuild
from deflect.training.context import Context
from deflect.training.model import TaskModel, input_gsd, with_head

README, STAC, EXAMPLE = "README.md", "model.stac.json", "example.safetensors"
GFM, GFM_CARD = "gfm.safetensors", "gfm.json"
#: The files that every shared folder has, and all that it may have.
NEEDED = (NAME, CARD, WEIGHTS, HEAD)
NAMES = (*NEEDED, GFM, GFM_CARD, README, STAC, EXAMPLE)
#: Maximum of the numbers on the card of a GFM; the largest Vision Transformers have 48 blocks of width 6144.
LARGEST = {"depth": 256, "img_size": 4096, "patch_size": 256, "embed_dim": 1 << 14, "num_heads": 1024}
MOST_BANDS = 1000
#: Bytes that a model may need besides those of its files, such as fixed positions.
SPARE = 1 << 30
#: Text in the settings of a method: names and numbers, but no patterns that take for ever to match.
WORD = re.compile(r"[\w.:-]{0,64}")
DTYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "BOOL": torch.bool}


def load(folder: Path | str, weights: Path | str | None = None, device: str = "auto") -> TrainedModel:
    """The model that `deflect share` wrote; its ``predict`` is that of the shared run.

    Args:
        folder: the folder, or ``hf:USER/NAME`` or ``hf:USER/NAME@REVISION`` of the Hugging Face Hub.
        weights: the GFM's weight file, by default ``gfm.safetensors`` in the folder or the file that the run used.
        device: "auto" (CUDA if available), "cpu", "cuda" or e.g. "cuda:1".

    Raises:
        DownloadError: the Hub cannot be reached or does not have it.
        DeflectError: the folder is not a shared model, a file in it is damaged or larger than the model, or the
            weights of its GFM are missing.
    """
    remote = str(folder).startswith(HUB)
    folder = fetch(str(folder), NAMES) if remote else Path(folder)
    try:
        # The Hub's cache holds links to files in another folder of the same repository.
        check_files(folder, folder.parent.parent if remote else folder)
        record = read_record(folder)
        found = find_weights(folder, record, Path(weights) if weights else None)
        check_tensors(folder, record, found)
        for name in (CARD, WEIGHTS, HEAD):
            run_file(folder, name, record)
        model = rebuild(folder, record, found, device)
        check_finite(model)
    except OSError:
        raise
    except Exception as error:  # what a hostile file raises is not foreseeable
        what = "" if isinstance(error, DeflectError) else f"{folder}: not a model that `deflect share` wrote; "
        kind = type(error) if isinstance(error, DeflectError) else ModelError
        raise kind(what + _printable(error)) from error
    return model


def check_files(folder: Path, root: Path) -> None:
    """Check that the files that `load` reads exist and are regular files below ``root``.

    Raises:
        DeflectError: one is a folder, a pipe or a link out of the folder, or is missing.
    """
    for name in (*NEEDED, GFM, GFM_CARD):
        path = folder / name
        if not path.exists() and not path.is_symlink():
            if name in NEEDED or (name == GFM_CARD and (folder / GFM).exists()):
                raise ModelError(f"{path}: missing; expected a folder that `deflect share` wrote")
            continue
        if not path.resolve().is_relative_to(root.resolve()):
            raise ModelError(f"{path}: a link out of the folder; put the file in its place")
        require_file(path)


def find_weights(folder: Path, record: Mapping[str, Any], given: Path | None) -> Path | None:
    """The weight file of the frozen GFM; None for random weights, which depend on the seed only.

    It is ``given``, in the folder, where the run had it, or made again of timm's own weights. A path in a record is
    opened only if a card is next to it.

    Raises:
        ModelError: there is none; the message says how to get it.
    """
    name, size, sha256 = record["gfm"], record["weights"]["size"], record["weights"]["sha256"]
    if sha256 is None or given is not None:
        return given
    if (folder / GFM).is_file():
        return folder / GFM
    recorded = Path(record.get("paths", {}).get("weights") or "none").resolve()
    weight_file = recorded.suffix == ".safetensors" and recorded.is_file() and recorded.with_suffix(".json").is_file()
    if weight_file and sha256_once(recorded) == sha256:
        return recorded
    if (folder / GFM_CARD).is_file():
        from deflect.trained.timm_weights import timm_weights

        if made := timm_weights(GFMCard.from_dict(read_json(folder / GFM_CARD)), sha256):
            return made
    how = f"run `deflect gfm fetch {name}` and `deflect gfm convert {name}`"
    if (name, size) not in CARDS or not CARDS[name, size].sources:
        how = "ask who shared it to do so with `--with-gfm`"
    raise ModelError(
        f"{folder}: the weights of the GFM {name} ({size}) with sha256 {sha256} are not in it; {how}, and give their "
        "file: load(..., weights=FILE)"
    )


def check_tensors(folder: Path, record: Mapping[str, Any], weights: Path | None) -> None:
    """Compare the tensors in the files with those of the model that the JSON describes, without allocating any.

    Raises:
        ModelError: they differ, or the model needs far more memory than its files have bytes.
    """
    card = read_card(weights) if weights else gfm_card(record["gfm"], record["weights"]["size"])
    check_card(card)
    described = describe(folder, record, card)
    compare(folder / WEIGHTS, described.adapted.state_dict(), complete=False)
    compare(folder / HEAD, described.head.state_dict())
    files = [folder / WEIGHTS, folder / HEAD]
    with torch.device("meta"):
        gfm = build(card).state_dict()
    if weights:
        compare(weights, gfm)
    needed = sum(value.nbytes for value in (*described.parameters(), *described.buffers()))
    held = sum(path.stat().st_size for path in files) + sum(value.nbytes for value in gfm.values())
    if needed > held + SPARE:
        raise ModelError(
            f"{folder}: its settings ask for a model of {needed / 1e9:.1f} GB, its files have {held / 1e9:.1f} GB; "
            "they do not belong together"
        )


def check_card(card: GFMCard) -> None:
    """Raise ModelError if a model of the card could not be built even without its weights.

    Of timm's names only its own are accepted: ``hf-hub:USER/NAME`` would be downloaded.
    """
    if card.timm and not timm.is_model(card.timm):
        raise ModelError(f"GFM card {card.name}: timm: expected one of its models, found {card.timm!r}")
    for key, value in card.architecture.items():
        if type(value) is not int or not 0 < value <= LARGEST[key]:
            raise ModelError(f"GFM card {card.name}: {key}: expected a number up to {LARGEST[key]}, found {value!r}")


def describe(folder: Path, record: Mapping[str, Any], gfm: GFMCard) -> TaskModel:
    """The model that the JSON files describe, on the meta device, where tensors have a shape but no memory."""
    adapter = read_json(folder / CARD)
    _require_words(adapter["config"], folder / CARD)
    for bands in (record["images"]["bands"]["bands"], adapter["bands"]["bands"]):
        if len(bands) > MOST_BANDS:
            raise ModelError(f"{folder}: expected at most {MOST_BANDS} bands, found {len(bands)}")
    images = ImageCard.from_dict(record["images"])
    settings = TrainSettings.from_dict(record["settings"]["training"])
    with torch.device("meta"):
        try:
            model = adapt_again(build(gfm, settings.image_size, input_gsd(images, settings)), adapter)
            return with_head(model, images, Context(settings, device=torch.device("meta")))
        except RuntimeError as error:  # sizes beyond any number; BOFT and SHiRA of peft compute with their tensors
            raise ModelError(
                f"{folder}: the tensors of a model with these settings of {adapter['method']} cannot be described "
                f"({str(error)[:100]}); it cannot be shared"
            ) from error


def compare(path: Path, state: Mapping[str, Tensor], complete: bool = True) -> None:
    """Compare names, shapes and types in the header of a safetensors file with those of ``state``.

    ``complete``: the file has every tensor of ``state``.

    Raises:
        ModelError: a tensor is not in ``state`` or differs, or the file is not of this format.
    """
    try:
        with safe_open(path, "np") as file:
            names = list(file.keys())
            for name in names:
                found = file.get_slice(name)
                shape, dtype = tuple(found.get_shape()), DTYPES.get(found.get_dtype(), found.get_dtype())
                wanted = state.get(name)
                if wanted is None or (shape, dtype) != (tuple(wanted.shape), wanted.dtype):
                    expected = "none" if wanted is None else f"{tuple(wanted.shape)} {wanted.dtype}"
                    raise ModelError(f"{path}: tensor {name[:80]}: expected {expected}, found {shape} {dtype}")
            if complete and (missing := sorted(state.keys() - set(names))):
                raise ModelError(f"{path}: tensor {missing[0]}: expected one, found none")
    except SafetensorError as error:
        raise ModelError(f"{path}: damaged or no safetensors file ({error}); get it again") from error


def check_finite(model: TrainedModel) -> None:
    """Raise ModelError if a weight is NaN or infinite; the predictions would be class 0 everywhere."""
    for name, value in model.network.state_dict().items():
        if not torch.isfinite(value).all():
            raise ModelError(f"{model.folder}: tensor {name}: expected finite numbers, found NaN or infinity")


def _require_words(value: Any, path: Path) -> None:
    if isinstance(value, Mapping):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for part in value:
            _require_words(part, path)
    elif isinstance(value, str) and not WORD.fullmatch(value):
        raise ModelError(f"{path}: config: expected names and numbers, found {value[:80]!r}")


def _printable(error: Exception) -> str:
    """One line of at most 500 characters, without those that control a terminal."""
    return "".join(c if c.isprintable() else " " for c in str(error))[:500]
