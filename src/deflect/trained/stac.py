"""The description of a model as a STAC item with the Machine Learning Model extension (MLM)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from deflect.settings import PIXEL_TASKS, REGRESSIONS
from deflect.trained.model import TrainedModel
from deflect.trained.shared import EXAMPLE, GFM, README

EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
SAFETENSORS = "application/vnd.safetensors"
ASSETS = {
    "adapter": (
        "adapter.safetensors",
        "Tensors that were added to the GFM or tuned",
        ["mlm:model", "mlm:weights"],
    ),
    "head": ("head.safetensors", "Tensors of the task head", ["mlm:weights"]),
    "gfm": (GFM, "Weights of the frozen GFM", ["mlm:weights"]),
    "example": (EXAMPLE, "One input and its output", ["data"]),
}


def stac_item(model: TrainedModel, name: str, with_gfm: bool) -> dict[str, Any]:
    """The STAC item of a shared model called ``name``, JSON-ready; without geometry, as it belongs to no place."""
    import pystac
    from pystac.extensions.mlm import AssetGeneralMLMExtension, MLMExtension

    record = model.record
    item = pystac.Item(
        id=name,
        geometry=None,
        bbox=None,
        datetime=datetime.fromisoformat(record["finished"]),
        properties={"description": f"{record['method']} on {model.gfm.title}"},
        stac_extensions=[EO],
    )
    item.properties["bands"] = [
        {
            "name": band.name,
            "eo:center_wavelength": band.wavelength / 1000,  # micrometres
            "eo:full_width_half_max": band.width / 1000,
        }
        for band in model.images.bands
    ]
    MLMExtension.ext(item, add_if_missing=True).apply(**mlm_properties(model, name))
    for key, (file, title, roles) in ASSETS.items():
        if key == "gfm" and not with_gfm:
            continue
        asset = pystac.Asset(f"./{file}", title=title, media_type=SAFETENSORS, roles=roles)
        item.add_asset(key, asset)
        if key == "example":  # STAC wants the bands at an asset, MLM in the properties
            asset.extra_fields["bands"] = [{"name": name} for name in model.images.bands.names]
        if "mlm:model" in roles:
            AssetGeneralMLMExtension.ext(asset).apply(artifact_type="safetensors")
    item.add_asset("readme", pystac.Asset(f"./{README}", media_type="text/markdown", roles=["metadata"]))
    return item.to_dict(include_self_link=False)


def mlm_properties(model: TrainedModel, name: str) -> dict[str, Any]:
    """The arguments of ``MLMExtension.apply``: what goes into the model and what comes out."""
    from pystac.extensions import mlm
    from pystac.extensions.classification import Classification
    from pystac.extensions.raster import DataType

    record, images, gfm = model.record, model.images, model.gfm
    task = {
        "classification": mlm.TaskType.SCENE_CLASSIFICATION,
        "multilabel": mlm.TaskType.CLASSIFICATION,
        "segmentation": mlm.TaskType.SEMANTIC_SEGMENTATION,
    }.get(images.task, mlm.TaskType.REGRESSION)
    numbers = images.task in REGRESSIONS
    maps = [-1, -1] if images.task in PIXEL_TASKS else []
    entry = mlm.ModelInput.create(
        name="reflectance",
        bands=images.bands.names,
        input=mlm.InputStructure.create(
            [-1, len(images.bands), -1, -1], ["batch", "channel", "height", "width"], DataType.FLOAT32
        ),
        description=f"Square images of {images.gsd:g} m per pixel in reflectance from 0 to 1, normalised by the model",
    )
    result = mlm.ModelOutput.create(
        name=images.classes[0] if numbers else "logits",
        tasks=[task],
        result=mlm.ResultStructure.create(
            [-1, len(images.classes), *maps],
            ["batch", "target" if numbers else "class", *["height", "width"][: len(maps)]],
            DataType.FLOAT32,
        ),
        classes=[
            Classification.create(value=i, name=_name(c, f"class{i}"), description=c)
            for i, c in enumerate(() if numbers else images.classes)
        ],
    )
    settings = {"method": record["method"], **record["settings"]["method"]}
    return {
        "name": name if re.fullmatch(r"[A-Za-z][\w.-]+[A-Za-z0-9]", name, re.ASCII) else "deflect-model",
        "architecture": "Vision Transformer",
        "tasks": [task],
        "input": [entry],
        "output": [result],
        "framework": "PyTorch",
        "framework_version": record["packages"]["torch"].partition("+")[0],
        "total_parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "pretrained": record["weights"]["sha256"] is not None,
        "pretrained_source": gfm.title if record["weights"]["sha256"] else None,
        "hyperparameters": mlm.Hyperparameters.create(**settings),
    }


def _name(text: str, default: str) -> str:
    """``text`` in the characters that names of classes may have; ``default`` if none is left."""
    return re.sub(r"[^0-9A-Za-z_-]+", "-", text).strip("-") or default
