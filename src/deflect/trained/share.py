"""Write a folder with all that others need to use the model of a run, and upload it; `deflect.load` reads it."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import torch
from torch import Tensor

from deflect.data.card import CARD as STORE_CARD
from deflect.data.catalog import DATASETS
from deflect.data.store import Store
from deflect.errors import ConfigError, ModelError
from deflect.files import atomic_path, save_tensors, write_json, write_text
from deflect.gfms.weights import read_card
from deflect.trained.hub import check_name, push
from deflect.trained.model import TrainedModel, load_run
from deflect.trained.model_card import model_card
from deflect.trained.shared import EXAMPLE, GFM, GFM_CARD, NAMES, NEEDED, README, STAC, load
from deflect.trained.stac import stac_item
from deflect.trained.timm_weights import of_timm
from deflect.training.model import is_cut

log = logging.getLogger(__name__)
#: Licences that allow to pass on unchanged files if their author is named.
OPEN = ("Apache-2.0", "BSD-3-Clause", "MIT", "CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0")


def share(run: Path, folder: Path, repository: str | None = None, with_gfm: bool = False) -> str:
    """Write the model of the finished ``run`` into ``folder`` and upload it to ``repository`` (USER/NAME) if given.

    The folder is loaded again, and its predictions are compared, before it gets its name.

    Args:
        with_gfm: include the weights of the frozen GFM, if their licence allows it.

    Returns:
        What ``deflect.load`` takes: the folder, or ``hf:USER/NAME``.

    Raises:
        ConfigError: ``folder`` has other files.
        ModelError: the run cannot be loaded, or the weights of its GFM may not be passed on.
        DownloadError: the upload failed; the folder is complete.
    """
    run, folder = Path(run), Path(folder)
    if repository:
        check_name(repository)
    _check_target(folder)
    model = load_run(run, device="cpu")
    recorded = model.record["paths"]["weights"]
    if private := [path for path in model.record["paths"].values() if path and Path(path).is_absolute()]:
        log.warning("%s: record.json, which is shared, names %s on this machine", run, " and ".join(private))
    with atomic_path(folder) as aside:
        aside.mkdir()
        for name in NEEDED:
            shutil.copyfile(run / name, aside / name)
        if with_gfm:
            _add_gfm(aside, recorded and Path(recorded))
        elif of_timm(model.gfm):  # `load` makes them again
            shutil.copyfile(Path(recorded).with_suffix(".json"), aside / GFM_CARD)
        images, source = example_images(model)
        logits = model.predict(images)
        save_tensors({"images": images, "logits": logits}, aside / EXAMPLE)
        name = repository.partition("/")[2] if repository else folder.absolute().name
        address = f"hf:{repository}" if repository else folder.name
        write_text(aside / README, model_card(model, name, address, source, with_gfm))
        write_json(aside / STAC, stac_item(model, name, with_gfm))
        again = load(aside, recorded, device="cpu")
        if not torch.equal(again.predict(images), logits):
            raise ModelError(f"{run}: the copy for {folder} predicts other logits than the run; nothing was written")
    return push(folder, repository, NAMES) if repository else str(folder)


def example_images(model: TrainedModel) -> tuple[Tensor, str]:
    """One image (1, C, H, H) in reflectance, and where it is from.

    It is the first of the test split if the prepared data are there and may be passed on: simulated ones, or those of
    the catalog with an open licence. A user's own data stay private. Else it is random.
    """
    record, images = model.record, model.images
    sheet, folder = DATASETS.get(record["dataset"]), Path(record["paths"]["store"])
    if (record["simulated"] or (sheet and sheet.licence in OPEN)) and (folder / STORE_CARD).is_file():
        store = Store(folder)
        if store.card.sha256 == record["data"]["store_sha256"]:
            image, _ = store.split("test").batch([0])
            cut = is_cut(images, model.context.settings)
            if cut:
                image = image[..., : model.image_size, : model.image_size]
            corner = "the upper left corner of " * cut
            return image, f"{corner}the first image of the test split{' (simulated)' * record['simulated']}"
    return model.random_images(1), "random reflectance, not an image: the data of this model are not passed on here"


def _add_gfm(folder: Path, weights: Path | None) -> None:
    if weights is None:
        raise ModelError("--with-gfm: the GFM of this run has random weights, which depend on the seed; leave it out")
    licence = read_card(weights).licence
    if licence not in OPEN:
        raise ModelError(
            f"{weights}: its licence {licence or '(none stated)'!r} is none of {', '.join(OPEN)}; share without "
            "--with-gfm"
        )
    shutil.copyfile(weights, folder / GFM)
    shutil.copyfile(weights.with_suffix(".json"), folder / GFM_CARD)


def _check_target(folder: Path) -> None:
    """Refuse to replace anything but an empty folder or one written by `share`."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise ConfigError(f"{folder}: expected a new folder or one that `deflect share` wrote; name another")
    others = sorted(path.name for path in folder.iterdir() if path.name not in NAMES)
    if others:
        raise ConfigError(f"{folder}: has other files ({', '.join(others[:3])}), which would be lost; name another")
