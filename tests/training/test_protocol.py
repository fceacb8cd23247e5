"""Settings by which protocols differ: what is validated, selected, averaged, left out, and how RGB enters."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_store import tiny_spec, tiny_store

from deflect.heads import LinearHead
from deflect.methods import adapt_as, method_config
from deflect.training.batches import batch_starts
from deflect.training.context import Context
from deflect.training.model import build_gfm, rgb_input
from deflect.training.run import train


def history(folder: Path) -> list[dict[str, float]]:
    with open(folder / "history.csv") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_the_last_epoch_is_tested_if_asked(tmp_path: Path) -> None:
    record = train(tiny_spec(tmp_path, selection="last", epochs=3, lr=1e-2))
    assert record["best_epoch"] == 3


def test_epochs_between_validations_are_not_selected(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, validate_every=2, epochs=5)
    record = train(spec)
    validated = [row["epoch"] for row in history(spec.out) if math.isfinite(row["val_score"])]
    assert validated == [2, 4, 5]
    assert record["best_epoch"] in validated


def test_the_untrained_model_is_selected_where_training_makes_it_worse(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, method="full", validate_untrained=True, lr=5.0, epochs=1)
    record = train(spec)
    assert len(history(spec.out)) == 1
    assert record["best_epoch"] == 0
    assert record["score"]["val"] >= history(spec.out)[0]["val_score"]


def test_the_chosen_f1_is_the_score(tmp_path: Path) -> None:
    record = train(tiny_spec(tmp_path, f1_average="micro"))
    assert record["score"]["metric"] == "f1_micro"
    assert record["score"]["value"] == record["metrics"]["test"]["f1_micro"] == record["metrics"]["test"]["accuracy"]


def test_absent_classes_count_as_zero_if_asked(tmp_path: Path) -> None:
    left_out, zero = (
        train(tiny_spec(tmp_path / rule, "segmentation", absent_classes=rule, epochs=6, lr=1e-2))["metrics"]["test"]
        for rule in ("left_out", "zero")
    )
    present = np.mean([value is not None for value in left_out["IoU"].values()])
    assert present < 1  # the store lacks its last class
    assert zero["IoU"] == left_out["IoU"]
    assert zero["mIoU"] == pytest.approx(present * left_out["mIoU"])
    assert zero["mIoU"] == pytest.approx(np.mean([value or 0 for value in zero["IoU"].values()]), abs=1e-6)


@pytest.mark.parametrize(("images", "kept"), [(10, [0, 4]), (8, [0, 4]), (3, [0])])
def test_a_short_last_batch_is_left_out_but_not_the_only_one(tmp_path: Path, images: int, kept: list[int]) -> None:
    settings = tiny_spec(tmp_path, batch_size=4, drop_last=True).training
    assert list(batch_starts(images, Context(settings))) == kept


def test_the_linear_head_starts_as_asked() -> None:
    torch.manual_seed(0)
    small, default = (LinearHead(100, 4, 10, init).fc for init in ("small", "torch"))
    assert not small.bias.any()
    assert small.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert default.bias.any()
    assert default.weight.abs().max() <= 400**-0.5
    assert default.weight.std().item() == pytest.approx((400 * 3) ** -0.5, rel=0.1)


def test_rgb_is_normalised_by_the_dataset_or_by_the_gfm(tmp_path: Path) -> None:
    card = tiny_store(tmp_path, "classification").card
    image = torch.rand(2, len(card.bands), 32, 32) * 1.5  # brighter than any white
    red, green, blue = (card.bands.channel(name) for name in ("B04", "B03", "B02"))

    def pixels(**changes: object) -> torch.Tensor:
        settings = tiny_spec(tmp_path, **changes).training
        gfm = build_gfm("scale_mae", None, "mini", card, Context(settings))
        config = method_config("frozen", bands="rgb")
        model = adapt_as(gfm, "frozen", config, card.bands, card.statistics, rgb_input(gfm, card, settings))
        return model.normalise(model.channels(image))

    for channel, band in enumerate((red, green, blue)):
        by_hand = (image[:, band] - card.statistics.mean[band]) / card.statistics.std[band]
        torch.testing.assert_close(pixels(rgb_statistics="dataset")[:, channel], by_hand)
    gfm = build_gfm("scale_mae", None, "mini", card, Context(tiny_spec(tmp_path).training))
    for white in (None, 0.2):
        scaled = (image[:, red] / (white or gfm.card.reflectance_white)).clamp(0, 1)
        by_hand = (scaled - gfm.card.rgb_mean[0]) / gfm.card.rgb_std[0]
        torch.testing.assert_close(pixels(white=white)[:, 0], by_hand, rtol=1e-4, atol=1e-5)


def test_a_run_with_the_datasets_rgb_statistics_is_saved_and_tested_again(tmp_path: Path) -> None:
    from deflect.trained.evaluate import evaluate

    spec = tiny_spec(tmp_path, rgb_statistics="dataset", head_init="torch", absent_classes="zero")
    train(spec)
    assert evaluate(spec.out, device="cpu").identical
