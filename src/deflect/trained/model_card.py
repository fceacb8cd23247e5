"""README.md of a shared model: a model card with the metadata of the Hugging Face Hub."""

from __future__ import annotations

from typing import Any

from deflect.analysis.render import pipe_table, plain, share
from deflect.data.catalog import DATASETS
from deflect.settings import IN_UNITS, PIXEL_TASKS, REGRESSIONS
from deflect.trained.hub_metadata import METRICS, dataset_title, metadata
from deflect.trained.model import TrainedModel
from deflect.trained.timm_weights import of_timm


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
        "## Classes" if model.images.task not in REGRESSIONS else "## Target": classes(model),
        "## Method": method(model),
        "## Licences": licences(model),
        "## Limits": limits(model),
    }
    text = "\n\n".join(f"{heading}\n\n{body.strip()}" for heading, body in sections.items())
    return f"---\n{metadata(model, name)}\n---\n\n{text}\n"


def about(model: TrainedModel) -> str:
    record, card = model.record, model.images
    before, after = {
        "classification": ("classifies", f" into {len(card.classes)} classes"),
        "segmentation": ("classifies every pixel of", f" into {len(card.classes)} classes"),
        "multilabel": (f"finds which of {len(card.classes)} classes are in", ""),
        "regression": (f"predicts {plain(card.classes[0])} of", ""),
        "pixel_regression": (f"predicts {plain(card.classes[0])} of every pixel of", ""),
    }[record["task"]]
    text = (
        f"This model {before} images of {len(card.bands)} bands ({plain(card.bands.sensor)}){after}. "
        f"It is {plain(model.gfm.title)}, a foundation model (GFM) pretrained on RGB images, "
        f"adapted to these bands with the method `{record['method']}` (tuned parameters: "
        f"{share(record['parameters']['tuned_percent'])} of the GFM's) on {dataset_title(record)}, by the library "
        "deflect, a replication of [DEFLECT](https://arxiv.org/abs/2503.09493)."
    )
    if record["simulated"]:
        text += (
            "\n\n**It was trained and tested on simulated images.** Its scores say nothing about real ones; use it "
            "only to try the software."
        )
    return text


def usage(model: TrainedModel, address: str, example: str, with_gfm: bool) -> str:
    """How to load it; a test runs this code."""
    record, images = model.record, model.images
    shape = "(B, K, H, H)" if images.task in PIXEL_TASKS else "(B, K)"
    result, output = "logits", f"{shape}, K = {len(images.classes)}"
    if images.task in REGRESSIONS:
        result = "numbers"
        output = f"{plain(images.classes[0])} {shape.replace('K', '1')}"
    name, size, sha256 = (record["weights"][key] for key in ("name", "size", "sha256"))
    argument = ""
    if with_gfm:
        gfm = "The weights of the frozen GFM are in this folder (`gfm.safetensors`)."
    elif of_timm(model.gfm):
        gfm = "The weights of the frozen GFM are timm's own, which timm downloads from Hugging Face when it has none."
    elif sha256 is None:
        gfm = "The frozen GFM has random weights, which are made again from the seed."
    else:
        argument = ', weights="FILE"'
        gfm = "`FILE` has the weights of the frozen GFM, which are not in this folder, and next to it its JSON card: "
        gfm += f"`{name}` ({size}), sha256 `{sha256}`"
        published = model.gfm.sources
        gfm += f", as `deflect gfm fetch {name}` and `deflect gfm convert {name}` make them." if published else "."
    return f"""\
With the Python package `deflect-gfm` (imported as `deflect`, version {record["packages"].get("deflect", "?")}):

```python
import deflect

model = deflect.load("{address}"{argument})
{result} = model.predict(images)  # reflectance (B, {len(images.bands)}, H, H) -> {output}
```

{gfm}

`example.safetensors` has one input and `logits`, the output of this model for it, to check an installation. The input
is {example}.

```python
from safetensors.torch import load_file

example = load_file(model.folder / "example.safetensors")
difference = (model.predict(example["images"]).cpu() - example["logits"]).abs().max()
```

On the same processor and version of torch the difference is 0, elsewhere it is rounding. Loading reads JSON and
safetensors and executes no code of this folder."""


def scores(model: TrainedModel) -> str:
    record, metric = model.record, model.record["score"]["metric"]
    counts, test = record["data"]["splits"], record["metrics"]["test"]
    names = [metric, *(name for name in ("accuracy", *IN_UNITS) if name in test)]
    rows = [
        (split, counts[split], *(f"{record['metrics'][split][name]:.3f}" for name in names))
        for split in ("val", "test")
    ]
    text = pipe_table(
        ["split", "images", *(METRICS[name][1] if name in METRICS else name for name in names)], rows, "---:"
    )
    if "RMSE" in test:
        text += f"\nRMSE and MAE are in the unit of {plain(record['classes'][0])}.\n"
    if by_class := [name for name in ("IoU", "AP", "F1") if name in test]:
        found = [
            (plain(name), *("–" if test[key][name] is None else f"{test[key][name]:.3f}" for key in by_class))
            for name in record["classes"]
        ]
        text += f"\n{pipe_table(['class', *(f'{key} on test' for key in by_class)], found, '---:')}"
    chosen = f"The weights of epoch {record['best_epoch']} of {record['epochs']}, the best on val"
    if record["settings"]["training"]["selection"] == "last":
        chosen = f"The weights of the last of {record['epochs']} epochs"
    return f"{text}\n{chosen}, were tested once. This is one run with seed {record['seed']}."


def images(model: TrainedModel) -> str:
    card, kind = model.images, "Simulated images" if model.record["simulated"] else "Images"
    text = f"{kind} of {card.image_size} × {card.image_size} pixels of {card.gsd:g} m, in reflectance from 0 to 1."
    if isinstance(card.scale, tuple) or isinstance(card.offset, tuple):
        text += " The files of the dataset have a scale and an offset per band, which the record lists."
    elif (card.scale, card.offset) != (1, 0):
        value = f"(value {'+' if card.offset > 0 else '−'} {abs(card.offset):g})" if card.offset else "value"
        text += f" Of the values in the files of the dataset, {value} × {card.scale:g} is reflectance."
    if card.nodata:
        text += (
            f" Values without a measurement ({', '.join(f'{value:g}' for value in card.nodata)}) are 0 in the input."
        )
    used = model.record["bands"]
    header = ["channel", "band", "wavelength (nm)", "width (nm)", "GSD of the sensor (m)", "used"]
    rows = [
        (
            i,
            plain(band.name),
            *(f"{fact:g}" for fact in (band.wavelength, band.width, band.gsd)),
            _yes(band.name in used),
        )
        for i, band in enumerate(card.bands)
    ]
    return f"{text}\n\n{pipe_table(header, rows)}"


def classes(model: TrainedModel) -> str:
    what = ["output", "target"] if model.images.task in REGRESSIONS else ["logit", "class"]
    return pipe_table(what, enumerate(map(plain, model.images.classes)))


def method(model: TrainedModel) -> str:
    record, parameters = model.record, model.record["parameters"]
    training = record["settings"]["training"]
    size = training["image_size"]
    rows = [
        ("method", f"`{record['method']}`" + f" (variant {plain(record['variant'])})" * bool(record["variant"])),
        ("parameters of the GFM", f"{parameters['gfm_params']:,}"),
        ("tuned of them or added", f"{parameters['tuned_params']:,} ({share(parameters['tuned_percent'])})"),
        ("parameters of the head", f"{parameters['head_params']:,}"),
        ("input of the network", f"{size} × {size} pixels"),
        ("epochs", training["epochs"]),
        ("batch size", training["batch_size"]),
        ("learning rate", f"{training['lr']:g}"),
        ("labelled training images", record["data"]["labelled"]),
        *((f"`{key}`", f"`{_setting(value)}`") for key, value in record["settings"]["method"].items()),
    ]
    return f"{pipe_table(['', ''], rows)}\nOther settings, versions of packages and hashes are in `record.json`."


def licences(model: TrainedModel) -> str:
    record, gfm = model.record, model.gfm
    sheet = DATASETS.get(record["dataset"])
    rows = [("GFM", plain(gfm.title), plain(gfm.licence or "not stated"), plain(gfm.citation))]
    if record["simulated"]:
        rows.append(("data", "simulated by deflect", "none needed", ""))
    elif sheet:
        rows.append(("data", plain(sheet.title), plain(sheet.licence), plain(sheet.citation)))
    else:
        rows.append(("data", plain(record["dataset"]), "not stated", "ask who shared this model"))
    text = pipe_table(["", "what", "licence", "source"], rows)
    if "-NC" in gfm.licence:
        text += f"\n**The licence of the GFM ({gfm.licence}) forbids commercial use**, which holds for this model too."
    return text


def limits(model: TrainedModel) -> str:
    """What is known to be wrong or untested."""
    record, card = model.record, model.images
    notes = [
        "It is only for the bands above in their order, in reflectance. Other values, such as digital numbers or "
        f"z-scores, and another GSD than {card.gsd:g} m give wrong predictions.",
        "It was tested on one split of one dataset, not on other regions, seasons or sensors.",
        "It states no uncertainty of its numbers."
        if card.task in REGRESSIONS
        else f"{'Sigmoid' if card.task == 'multilabel' else 'Softmax'} of its logits gives no calibrated "
        "probabilities.",
    ]
    if record["simulated"]:
        notes.insert(0, "It has seen simulated images only and is not for real ones.")
    if record["weights"]["sha256"] is None:
        notes.append("Its GFM has random weights: it was never pretrained.")
    elif record["weights"]["size"] == "mini":
        notes.append("Its GFM is a mini model that was pretrained on simulated RGB images, not the published one.")
    if record["data"]["unchecked"]:
        notes.append("Sizes and statistics of the data were not compared with the published ones.")
    labelled, train = record["data"]["labelled"], record["data"]["splits"]["train"]
    if labelled < train:
        notes.append(f"It was trained with the labels of {labelled} of {train} images.")
    return "".join(f"* {note}\n" for note in notes)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
