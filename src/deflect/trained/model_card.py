"""README.md of a shared model: a model card with the metadata of the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from deflect.analysis.render import pipe_table, plain, share, thousands
from deflect.data.catalog import DATASETS
from deflect.gfms.vit import card_of
from deflect.trained.model import TrainedModel

#: Licences as the Hub calls them.
LICENCES = ("apache-2.0", "bsd-3-clause", "mit", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0")
TASKS = {"classification": "image-classification", "segmentation": "image-segmentation"}
METRICS = {
    "f1_macro": ("f1", "macro F1"),
    "f1_micro": ("f1", "micro F1"),
    "mIoU": ("mean_iou", "mIoU"),
    "accuracy": ("accuracy", "accuracy"),
}
HUB_PAGE = re.compile(r"https://huggingface\.co/(datasets/)?([\w-][\w.-]*/[\w-][\w.-]*)")


def model_card(model: TrainedModel, name: str, address: str, example: str, with_gfm: bool) -> str:
    """The text of README.md.

    Args:
        name: of the model.
        address: what ``deflect.load`` takes.
        example: where the example image is from.
        with_gfm: whether the folder has the weights of the GFM.
    """
    sections = {
        f"# {plain(name)}": about(model),
        "## Use": usage(model, address, example, with_gfm),
        "## Scores": scores(model),
        "## Images": images(model),
        "## Classes": classes(model),
        "## Method": method(model),
        "## Licences": licences(model),
        "## Limits": limits(model),
    }
    text = "\n\n".join(f"{heading}\n\n{body.strip()}" for heading, body in sections.items())
    return f"---\n{metadata(model, name)}\n---\n\n{text}\n"


def metadata(model: TrainedModel, name: str) -> str:
    """The YAML head that the Hub reads, with the score on the test split."""
    from huggingface_hub import EvalResult, ModelCardData

    record, gfm = model.record, card_of(model.network.adapted.gfm)
    metric = record["score"]["metric"]
    hub_metric, metric_name = METRICS[metric]
    result = EvalResult(
        task_type=TASKS[record["task"]],
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
        pipeline_tag=TASKS[record["task"]],
        tags=["deflect", "remote-sensing", "multispectral", plain_name(model.images.bands.sensor), record["method"]]
        + ["simulated-data"] * record["simulated"],
        base_model=on_hub(source.url for source in gfm.sources),
        datasets=on_hub([sheet.source.url] if sheet else []),
        metrics=[hub_metric],
        model_name=name,
        eval_results=[result],
    ).to_yaml()


def about(model: TrainedModel) -> str:
    record, gfm = model.record, card_of(model.network.adapted.gfm)
    what = {"classification": "classifies images", "segmentation": "classifies every pixel of images"}[record["task"]]
    text = (
        f"This model {what} of {len(model.images.bands)} bands ({plain(model.images.bands.sensor)}) into "
        f"{len(model.images.classes)} classes. It is the RGB foundation model {plain(gfm.title)}, kept frozen where the "
        f"method keeps it, adapted with `{record['method']}` by "
        f"[DEFLECT's replication](https://arxiv.org/abs/2503.09493) and trained on {plain(dataset_title(record))}."
    )
    if record["simulated"]:
        text += (
            "\n\n**It was trained and tested on simulated images.** Its scores say nothing about real ones; use it to "
            "try the software only."
        )
    return text


def usage(model: TrainedModel, address: str, example: str, with_gfm: bool) -> str:
    """How to load it; a test runs this code."""
    record, images = model.record, model.images
    logits = "(B, K)" if images.task == "classification" else "(B, K, H, H)"
    weights = record["weights"]
    if with_gfm:
        gfm = "The weights of the frozen GFM are in this folder (`gfm.safetensors`)."
    elif weights["sha256"] is None:
        gfm = "The frozen GFM has random weights, which are made again from the seed."
    else:
        gfm = (
            f"The weights of the frozen GFM are not in this folder: `load` needs those of `{weights['name']}` "
            f"({weights['size']}) with sha256 `{weights['sha256']}` as `weights=FILE`"
        )
        gfm += "." if weights["size"] == "mini" else (
            f", which `deflect gfm fetch {weights['name']}` and `deflect gfm convert {weights['name']}` make."
        )
    return f"""\
With the Python package `deflect-gfm` (imported as `deflect`, version {record["packages"].get("deflect", "?")}):

```python
import deflect

model = deflect.load("{address}")
logits = model.predict(images)  # reflectance (B, {len(images.bands)}, H, H) -> {logits}, K = {len(images.classes)}
```

{gfm}

`example.safetensors` has one input and the logits that this model gave for it, to check an installation. The input is
{example}.

```python
from safetensors.torch import load_file

example = load_file(model.folder / "example.safetensors")
difference = (model.predict(example["images"]).cpu() - example["logits"]).abs().max()
```

On the same processor and version of torch the difference is 0, elsewhere it is rounding. Loading reads JSON and
safetensors and executes no code of this folder."""


def scores(model: TrainedModel) -> str:
    record, metric = model.record, model.record["score"]["metric"]
    number = record.get("data", {}).get("splits", {})
    rows = [
        (f"{split}", number.get(split, "–"), *(f"{record['metrics'][split][name]:.3f}" for name in (metric, "accuracy")))
        for split in ("val", "test")
    ]
    text = pipe_table(["split", "images", METRICS[metric][1], "accuracy"], rows, "---:")
    if ious := record["metrics"]["test"].get("IoU"):
        found = ious.items() if isinstance(ious, dict) else zip(record["classes"], ious, strict=True)
        rows = [(plain(name), "–" if value is None else f"{value:.3f}") for name, value in found]
        text += "\n" + pipe_table(["class", "IoU on test"], rows, "---:")
    chosen = f"The weights of epoch {record['best_epoch']} of {record['epochs']}, the best on the validation split"
    if record["settings"]["training"]["selection"] == "last":
        chosen = f"The weights of the last of {record['epochs']} epochs"
    return f"{text}\n{chosen}, were tested once. One run with seed {record['seed']}."


def images(model: TrainedModel) -> str:
    card = model.images
    used = model.record.get("bands", card.bands.names)
    rows = [
        (channel, plain(band.name), f"{band.wavelength:g}", f"{band.width:g}", f"{band.gsd:g}", "yes" if band.name in used else "no")
        for channel, band in enumerate(card.bands)
    ]
    header = ["channel", "band", "wavelength (nm)", "width (nm)", "GSD of the sensor (m)", "used"]
    scale = "Values of the data set were reflectance already."
    if (card.scale, card.offset) != (1, 0):
        scale = f"Of values as stored in the data set, (value + {card.offset:g}) × {card.scale:g} is reflectance."
    nodata = ", ".join(f"{value:g}" for value in card.nodata)
    kind = "Simulated images" if model.record["simulated"] else "Images"
    return f"""\
{kind} of {card.image_size} × {card.image_size} pixels of {card.gsd:g} m, in reflectance from 0 to 1 (float32). {scale}
{f"Values without a measurement: {nodata}; they are 0 in the input." if nodata else ""}

{pipe_table(header, rows, "---:")}"""


def classes(model: TrainedModel) -> str:
    return pipe_table(["logit", "class"], enumerate(map(plain, model.images.classes)))


def method(model: TrainedModel) -> str:
    record, parameters = model.record, model.record["parameters"]
    training = record["settings"]["training"]
    rows = [
        ("method", f"`{record['method']}`" + f" ({plain(record['variant'])})" * bool(record.get("variant"))),
        ("parameters of the GFM", f"{thousands(parameters['gfm_params'])} thousand"),
        ("tuned in it", f"{thousands(parameters['tuned_params'])} thousand ({share(parameters['tuned_percent'])})"),
        ("of the head", f"{thousands(parameters['head_params'])} thousand"),
        *((f"`{key}`", f"`{value}`") for key, value in record["settings"]["method"].items()),
        ("input", f"{training['image_size']} × {training['image_size']} pixels"),
        ("epochs, batch, learning rate", f"{training['epochs']}, {training['batch_size']}, {training['lr']:g}"),
        ("labelled training images", record.get("data", {}).get("labelled", "–")),
    ]
    return f"{pipe_table(['', 'value'], rows)}\nEvery other setting, versions and hashes are in `record.json`."


def licences(model: TrainedModel) -> str:
    record, gfm = model.record, card_of(model.network.adapted.gfm)
    sheet = DATASETS.get(record["dataset"])
    rows = [("GFM", plain(gfm.title), plain(gfm.licence or "not stated"), plain(gfm.citation))]
    if record["simulated"]:
        rows.append(("data", "simulated", "Apache-2.0", f"in the format of {plain(dataset_sheet_title(record))}"))
    elif sheet:
        rows.append(("data", plain(sheet.title), plain(sheet.licence), plain(sheet.citation)))
    else:
        rows.append(("data", plain(dataset_title(record)), "not stated", "ask who shared this model"))
    text = pipe_table(["", "what", "licence", "by"], rows)
    if "-NC" in gfm.licence:
        text += f"\n**The licence of the GFM, {gfm.licence}, forbids commercial use**, so this model may not be used so either."
    return text


def limits(model: TrainedModel) -> str:
    """What is known to be wrong or untested."""
    record, card = model.record, model.images
    notes = [
        f"Only for the bands above in this order, in reflectance. Images with other values (digital numbers, z-scores) or "
        f"another GSD than {card.gsd:g} m give wrong predictions.",
        "Scores are of one split of one dataset. Other regions, seasons and sensors were not tested.",
        "Logits are not calibrated probabilities.",
    ]
    if record["simulated"]:
        notes.insert(0, "Simulated training data: not for real images.")
    if record.get("weights", {}).get("size") == "mini":
        notes.append("The GFM is a mini model pretrained on simulated RGB images, not the published one.")
    if record["weights"]["sha256"] is None:
        notes.append("The GFM has random weights: it was never pretrained.")
    if record.get("data", {}).get("unchecked"):
        notes.append("Sizes and statistics of the data were not compared with the published ones.")
    labelled, train = record["data"].get("labelled"), record["data"].get("splits", {}).get("train")
    if labelled and train and labelled < train:
        notes.append(f"Trained with the labels of {labelled} of {train} images.")
    return "".join(f"* {note}\n" for note in notes)


def dataset_sheet_title(record: dict[str, Any]) -> str:
    sheet = DATASETS.get(record["dataset"])
    return sheet.title if sheet else str(record["dataset"])


def dataset_title(record: dict[str, Any]) -> str:
    return f"{dataset_sheet_title(record)}{', simulated' * record['simulated']}"


def on_hub(urls: Iterable[str]) -> Sequence[str] | None:
    """Names of the repositories on the Hugging Face Hub among ``urls``; None where there are none."""
    found = [match[2] for url in urls if (match := HUB_PAGE.match(url))]
    return found[:1] or None


def plain_name(text: str) -> str:
    """E.g. ``my-licence``: the Hub's metadata have lower case, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unknown"
