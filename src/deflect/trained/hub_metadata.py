"""The YAML head of a model card, by which the Hugging Face Hub lists and filters models."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from deflect.analysis.render import plain
from deflect.data.catalog import DATASETS
from deflect.trained.model import TrainedModel

#: Licences as the Hub calls them.
LICENCES = ("apache-2.0", "bsd-3-clause", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0")
#: Tasks as the Hub calls them, and those that it does not have.
TASKS = {
    "classification": "image-classification",
    "segmentation": "image-segmentation",
    "multilabel": "image-classification",
}
OTHER_TASKS = {"regression": "image-regression", "pixel_regression": "image-regression"}
#: Headline metrics: the name on the Hub, and in text.
METRICS = {
    "f1_macro": ("f1", "macro F1"),
    "f1_micro": ("f1", "micro F1"),
    "mIoU": ("mean_iou", "mIoU"),
    "mAP": ("mean_average_precision", "mAP"),
    "R2": ("r_squared", "R²"),
    "accuracy": ("accuracy", "accuracy"),
}
HUB_PAGE = re.compile(r"https://huggingface\.co/(datasets/)?([\w-][\w.-]*/[\w-][\w.-]*)")


def metadata(model: TrainedModel, name: str) -> str:
    """The YAML head that the Hub reads, with the score on the test split."""
    from huggingface_hub import EvalResult, ModelCardData

    record, gfm = model.record, model.gfm
    metric = record["score"]["metric"]
    hub_metric, metric_name = METRICS[metric]
    result = EvalResult(
        task_type=(TASKS | OTHER_TASKS)[record["task"]],
        dataset_type=record["dataset"],
        dataset_name=dataset_title(record),
        dataset_split="test",
        metric_type=hub_metric,
        metric_name=metric_name,
        metric_value=round(record["score"]["value"], 4),
    )
    licence = gfm.licence.lower()
    known = licence in LICENCES
    sheet = None if record["simulated"] else DATASETS.get(record["dataset"])
    return ModelCardData(
        license=licence if known else "other",
        license_name=None if known else plain_name(gfm.licence or "unknown"),
        library_name="deflect",
        pipeline_tag=TASKS.get(record["task"]),
        tags=["deflect", "remote-sensing", "multispectral", plain_name(model.images.bands.sensor), record["method"]]
        + ["simulated-data"] * record["simulated"],
        base_model=on_hub(source.url for source in gfm.sources),
        datasets=on_hub([sheet.source.url] if sheet else []),
        metrics=[hub_metric],
        model_name=name,
        eval_results=[result],
    ).to_yaml()


def dataset_title(record: dict[str, Any]) -> str:
    sheet = DATASETS.get(record["dataset"])
    return f"{plain(sheet.title if sheet else record['dataset'])}{' (simulated)' * record['simulated']}"


def on_hub(urls: Iterable[str]) -> list[str] | None:
    """Names of the repositories on the Hugging Face Hub among ``urls``; None where there are none."""
    found = [match[2] for url in urls if (match := HUB_PAGE.match(url))]
    return found[:1] or None


def plain_name(text: str) -> str:
    """E.g. ``my-licence``: the Hub's metadata have lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"
