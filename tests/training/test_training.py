"""The training loop and its parts, on tiny real models."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from paths import HELPERS
from safetensors.torch import load_file
from tiny_store import BANDS, tiny_spec, tiny_store
from torch import Tensor, nn

from deflect.data.store import Store
from deflect.errors import ConfigError, ModelError
from deflect.files import read_json
from deflect.methods import load_adapter
from deflect.record import read_record
from deflect.settings.training import TrainSettings
from deflect.training import model as models
from deflect.training.batches import training_batches
from deflect.training.checkpoint import Checkpoint
from deflect.training.context import Context
from deflect.training.loop import batch_loss, build_optimizer, fit, learning_rate
from deflect.training.loss import Loss
from deflect.training.model import (
    TaskModel,
    build_gfm,
    build_model,
    cached_features,
    calibrate,
    input_gsd,
    with_head,
)
from deflect.training.run import train
from deflect.training.scoring import predict, score, window_origins

LOSS = Loss("classification")


def tiny_model(root: Path, task: str, method: str, **settings: object) -> tuple[TaskModel, Context, object]:
    spec = tiny_spec(root, task, method, **settings)
    store = tiny_store(spec.store, task)
    context = Context(spec.training, spec.seed)
    gfm = build_gfm("scale_mae", None, "mini", store.card, context)
    model = build_model(gfm, method, {}, store.card, context)
    calibrate(model, store.split("train"), context)
    return model, context, store


# ---------------------------------------------------------------- settings and schedule


def test_defaults_are_the_papers_protocol() -> None:
    settings = TrainSettings()
    assert (settings.lr, settings.betas, settings.weight_decay) == (1e-4, (0.9, 0.999), 0.05)
    assert (settings.milestones, settings.gamma, settings.batch_size, settings.image_size) == ((0.6, 0.9), 0.1, 8, 224)
    assert (settings.upernet_channels, settings.dropout, settings.augment) == (512, 0.1, False)


@pytest.mark.parametrize(
    "wrong",
    [{"lr": 0}, {"epochs": 0}, {"milestones": [0.9, 0.6]}, {"precision": "int8"}, {"betas": [0.9]}, {"dropout": 1.0}],
)
def test_wrong_setting_is_named(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=rf"training\.{next(iter(wrong))}(\.\d)?: (expected|unknown value|missing)"):
        TrainSettings.from_dict(wrong)


def test_unknown_setting_is_named_and_settings_survive_json() -> None:
    with pytest.raises(ConfigError, match="training: unknown key 'learning_rate'; known: image_size"):
        TrainSettings.from_dict({"learning_rate": 1})
    settings = TrainSettings(milestones=(0.5,), gsd=1.0)
    assert TrainSettings.from_dict(settings.to_dict()) == settings


def test_learning_rate_falls_at_60_and_90_percent_of_the_iterations() -> None:
    settings = TrainSettings(lr=1.0)
    rates = [learning_rate(settings, step, 50) for step in range(50)]
    assert rates == pytest.approx([1.0] * 30 + [0.1] * 15 + [0.01] * 5)


# ---------------------------------------------------------------- prediction


def test_window_origins_are_pangaeas() -> None:
    assert window_origins(512, 224) == [0, 144, 288]
    assert window_origins(240, 224) == [0, 16]
    assert window_origins(448, 224) == [0, 224]


class Pixelwise(nn.Module):
    """Logits of single pixels, which windows must not change; counts the images."""

    seen = 0

    def forward(self, images: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        self.seen += len(images)
        assert images.shape[-1] == 224
        return torch.cat([images, -images], dim=1)


def test_sliding_windows_cover_every_pixel_and_average() -> None:
    images, model = torch.randn(2, 1, 300, 300), Pixelwise()
    logits = predict(model, images, 300, Context(TrainSettings(eval_batch_size=3)))
    torch.testing.assert_close(logits, torch.cat([images, -images], dim=1))
    assert model.seen == 2 * 4


def test_small_maps_are_predicted_at_their_own_size(tmp_path: Path) -> None:
    model, context, store = tiny_model(tmp_path, "segmentation", "frozen", image_size=64)
    images, _ = store.split("test").batch([0, 1])
    assert predict(model.eval(), images, 32, context).shape == (2, 3, 32, 32)


def test_gsd_follows_resizing_but_not_cutting(tmp_path: Path) -> None:
    classes = tiny_store(tmp_path / "c", "classification").card
    maps = tiny_store(tmp_path / "s", "segmentation").card
    assert input_gsd(classes, TrainSettings(image_size=64)) == 5
    assert input_gsd(classes, TrainSettings(image_size=16)) == 20
    assert input_gsd(maps, TrainSettings(image_size=16)) == 10  # a window of the larger image
    assert input_gsd(maps, TrainSettings(image_size=64)) == 5
    assert input_gsd(maps, TrainSettings(image_size=64, gsd=1.0)) == 1


# ---------------------------------------------------------------- the loss and the step


def test_loss_ignores_unlabelled_pixels_and_survives_a_window_without_labels() -> None:
    logits, labels = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4))
    labels[0, 0] = -1
    total, count = LOSS(logits, labels)
    torch.testing.assert_close(total / count, nn.functional.cross_entropy(logits, labels, ignore_index=-1))
    total, count = LOSS(logits, torch.full((2, 4, 4), -1))
    assert (float(total), int(count)) == (0, 0)


def test_a_batch_without_labels_gives_a_zero_loss_and_no_nan(tmp_path: Path) -> None:
    model, context, store = tiny_model(tmp_path, "segmentation", "lora")
    images, labels = store.split("train").batch([0, 1])
    loss = batch_loss(model, model, images, torch.full_like(labels, -1), context, LOSS)
    loss.backward()
    assert float(loss.detach()) == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_gradient_checkpointing_changes_no_gradient(tmp_path: Path) -> None:
    found = []
    for on in (False, True):
        model, context, store = tiny_model(tmp_path, "classification", "lora", gradient_checkpointing=on)
        images, labels = store.split("train").batch(range(8))
        assert model.adapted.grad_checkpointing is on
        batch_loss(model, model, images, labels, context, LOSS).backward()
        found.append([p.grad for p in model.parameters() if p.requires_grad])
    for plain, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_nan_loss_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, lr=1e30)
    with pytest.raises(ModelError, match=r"epoch \d: expected a finite training loss, found nan; lower training\.lr"):
        train(spec)
    assert not (spec.out / "record.json").exists()


# ---------------------------------------------------------------- whole runs


def history(spec: object) -> list[str]:
    lines = (spec.out / "history.csv").read_text().splitlines()
    return [line.rsplit(",", 1)[0] for line in lines]  # without the seconds


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_same_seed_gives_the_same_run_to_the_last_bit_and_another_seed_does_not(tmp_path: Path, task: str) -> None:
    specs = [
        tiny_spec(tmp_path, task, "deflect", seed=seed, out=tmp_path / run)
        for run, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    records = [train(spec) for spec in specs]
    assert records[0]["metrics"] == records[1]["metrics"]
    assert history(specs[0]) == history(specs[1])
    for name in ("adapter.safetensors", "head.safetensors"):
        assert (specs[0].out / name).read_bytes() == (specs[1].out / name).read_bytes()
    assert history(specs[0]) != history(specs[2])


def test_training_changes_trainable_parameters_and_no_others(tmp_path: Path) -> None:
    model, context, store = tiny_model(tmp_path, "segmentation", "deflect")
    before = {name: value.clone() for name, value in model.adapted.state_dict().items()}
    checkpoint = Checkpoint(tmp_path / "checkpoint.pt", "", TrainSettings(checkpoint_every=0))
    fit(model, store.split("train"), store.split("val"), context, checkpoint, list)
    trained = set(model.adapted.trainable_names())
    assert trained
    for name, value in model.adapted.state_dict().items():
        assert torch.equal(value, before[name]) is (name not in trained), name


def test_the_optimiser_has_the_settings_and_every_trainable_parameter(tmp_path: Path) -> None:
    settings = {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.3}
    model, context, _ = tiny_model(tmp_path, "classification", "lora", **settings)
    optimizer = build_optimizer(model, context.settings)
    assert isinstance(optimizer, torch.optim.AdamW)
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in settings} == settings
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters() if p.requires_grad]


def test_the_training_loss_is_the_mean_over_the_batches(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, epochs=2, lr=1e-9, batch_size=10)
    train(spec)
    model, context, store = tiny_model(tmp_path / "again", "classification", "lora", batch_size=10)
    batches = [list(training_batches(store.split("train"), epoch, context)) for epoch in (0, 1)]
    assert [len(labels) for _, labels in batches[0]] == [10, 10, 4]
    for row, epoch in zip(history(spec)[1:], batches, strict=True):
        by_hand = [float(nn.functional.cross_entropy(model(images), labels).detach()) for images, labels in epoch]
        assert float(row.split(",")[2]) == pytest.approx(np.mean(by_hand), rel=1e-5)


def test_the_extra_loss_of_a_method_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, context, store = tiny_model(tmp_path, "classification", "lora")
    images, labels = store.split("train").batch([0, 1, 2])
    plain = batch_loss(model, model, images, labels, context, LOSS)
    monkeypatch.setattr(model.adapted, "extra_loss", lambda: torch.tensor(7.0))
    torch.testing.assert_close(batch_loss(model, model, images, labels, context, LOSS), plain + 7)


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, epochs=5, lr=1e-2)
    record = train(spec)
    scores = [float(row.split(",")[4]) for row in history(spec)[1:]]
    assert record["score"]["val"] == max(scores)
    assert record["best_epoch"] == scores.index(max(scores)) + 1
    store = Store(spec.store)
    context = Context(spec.training, spec.seed)
    model = with_head(
        load_adapter(build_gfm("scale_mae", None, "mini", store.card, context), spec.out), store.card, context
    )
    model.head.load_state_dict(load_file(spec.out / "head.safetensors"))
    assert score(model, store.split("val"), context).metrics == record["metrics"]["val"]


@pytest.mark.parametrize("method", ["frozen", "spectral_probe"])
def test_cached_features_of_a_frozen_encoder_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    for task in ("classification", "segmentation"):
        kept = train(tiny_spec(tmp_path, task, method, out=tmp_path / task / "kept"))
        with monkeypatch.context() as patch:
            patch.setattr(models, "FEATURE_BYTES", 0)
            anew = train(tiny_spec(tmp_path, task, method, out=tmp_path / task / "anew"))
        assert kept["metrics"]["val"]["loss"] == pytest.approx(anew["metrics"]["val"]["loss"], rel=1e-4)


def test_features_that_change_are_not_cached(tmp_path: Path) -> None:
    for method, settings in (("lora", {}), ("frozen", {"augment": True}), ("frozen", {"image_size": 16})):
        model, context, store = tiny_model(tmp_path / method, "segmentation", method, **settings)
        assert cached_features(model, store.split("train"), context) is None
    model, context, store = tiny_model(tmp_path / "kept", "segmentation", "frozen")
    assert len(cached_features(model, store.split("train"), context)) == 24


def calibrated_mean(descriptor: dict, band: str) -> float:
    """The mean over patches of the patch's mean of ``band``, as DEFLECT standardises with it."""
    statistics = descriptor["statistics"]
    return descriptor["mean"][len(statistics) * descriptor["features"].index(band) + statistics.index("mean")]


def calibration_images(folder: Path) -> np.ndarray:
    """The 16 of the 24 training images from which the tiny runs take their statistics, near infrared only."""
    rows = np.linspace(0, 23, 16).round().astype(int)
    return np.load(folder / "train.images.npy")[rows, BANDS.channel("B08")]


def test_descriptors_are_calibrated_on_images_spread_over_the_training_split(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, method="deflect", epochs=1)
    train(spec)
    found = calibrated_mean(read_json(spec.out / "adapter.json")["descriptor"], "B08")
    assert found == pytest.approx(calibration_images(spec.store).mean(), rel=1e-6)
    for split in ("val", "test"):
        other = np.load(spec.store / f"{split}.images.npy")[:, BANDS.channel("B08")].mean()
        assert found != pytest.approx(other, rel=1e-5)


def test_larger_images_are_calibrated_on_their_center_crop(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, "segmentation", "deflect", store=tmp_path / "large")
    store = tiny_store(spec.store, "segmentation", size=64)
    context = Context(spec.training, spec.seed)
    model = build_model(build_gfm("scale_mae", None, "mini", store.card, context), "deflect", {}, store.card, context)
    calibrate(model, store.split("train"), context)
    images = calibration_images(spec.store)
    middle = images[:, 16:48, 16:48].mean()
    assert calibrated_mean(model.adapted.describe()["descriptor"], "B08") == pytest.approx(middle, rel=1e-6)
    assert images.mean() != pytest.approx(middle, rel=1e-4)


def test_spectral_classes_are_learned_from_all_bands_and_not_from_rgb(tmp_path: Path) -> None:
    """The class of the tiny data is visible only in the near infrared, so lost bands would lower the score."""
    scores = {}
    for bands in ("all", "rgb"):
        spec = tiny_spec(tmp_path, method="lora", method_settings={"bands": bands}, epochs=6, out=tmp_path / bands)
        record = train(spec)
        scores[bands] = record["score"]["value"]
        assert record["band_setting"] == bands
        assert record["bands"] == (BANDS.names if bands == "all" else ["B04", "B03", "B02"])
    assert scores["all"] > 0.8 > 0.6 > scores["rgb"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_float32_weights(tmp_path: Path, precision: str) -> None:
    spec = tiny_spec(tmp_path, "segmentation", "deflect", precision=precision, epochs=1)
    assert np.isfinite(train(spec)["metrics"]["test"]["loss"])
    assert {v.dtype for k, v in load_file(spec.out / "head.safetensors").items() if "num_batches" not in k} == {
        torch.float32
    }


def test_training_on_windows_of_larger_images(tmp_path: Path) -> None:
    spec = tiny_spec(tmp_path, "segmentation", "lora", image_size=16, epochs=2, augment=True, crop="focus")
    record = train(spec)
    with np.load(spec.out / "predictions.npz") as arrays:
        assert arrays["sample_predictions"].shape == (8, 32, 32)
    assert 0 <= record["score"]["value"] <= 1


TWO_PROCESSES = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tiny_store import tiny_spec
from deflect.record import read_record
from deflect.training.run import train
train(tiny_spec(Path(sys.argv[2]), epochs=2, out=Path(sys.argv[2]) / "two"))
"""


def test_two_processes_train_the_model_of_one(tmp_path: Path) -> None:
    one = train(tiny_spec(tmp_path, epochs=2, out=tmp_path / "one"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", TWO_PROCESSES, str(HELPERS), str(tmp_path)]
    ranks = [subprocess.Popen(command, env=os.environ | place | {"RANK": str(r), "LOCAL_RANK": "0"}) for r in (0, 1)]
    assert [process.wait(timeout=240) for process in ranks] == [0, 0]
    both = [load_file(tmp_path / name / "head.safetensors") for name in ("one", "two")]
    for name, value in both[0].items():
        torch.testing.assert_close(value, both[1][name], rtol=1e-3, atol=1e-4)
    two = read_record(tmp_path / "two")
    assert two["device"]["count"] == 2
    assert two["confusion"] == one["confusion"]
    for split in ("val", "test"):
        assert two["metrics"][split] == pytest.approx(one["metrics"][split], rel=1e-3)
