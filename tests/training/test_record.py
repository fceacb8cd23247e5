"""The folder of a run: complete, consistent, with all that determined it, and reproducible from disk."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import output_page
import pytest
import torch
from tiny_store import tiny_spec, tiny_store

from deflect.data.store import Store
from deflect.errors import DataError, ModelError
from deflect.fingerprint import code_sha256
from deflect.gfms import build as build_vit
from deflect.gfms import gfm_card
from deflect.record import read_record, write_record
from deflect.settings.training import TrainSettings
from deflect.trained.evaluate import Evaluation, evaluate
from deflect.training import provenance
from deflect.training.outcomes import reliability, sample_rows
from deflect.training.run import train
from deflect.training.spec import RunSpec
from deflect.training.tracking import sample_maps, wandb_mode

FILES = ["adapter.json", "adapter.safetensors", "head.safetensors", "history.csv", "predictions.npz", "record.json"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunSpec]:
    """A run of each task, both with DEFLECT."""
    root = tmp_path_factory.mktemp("finished")
    specs = {task: tiny_spec(root, task, "deflect") for task in ("classification", "segmentation")}
    for spec in specs.values():
        train(spec)
    return specs


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_folder_is_complete_and_agrees_with_itself(finished: dict[str, RunSpec], task: str) -> None:
    spec = finished[task]
    record = read_record(spec.out)
    assert sorted(path.name for path in spec.out.iterdir()) == sorted([*FILES, "deflection.npz"])
    with open(spec.out / "history.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert list(rows[0]) == ["epoch", "lr", "train_loss", "val_loss", "val_score", "seconds"]
    assert float(rows[record["best_epoch"] - 1]["val_score"]) == record["score"]["val"]
    assert record["data"]["splits"] == {"train": 24, "val": 12, "test": 10}
    assert record["parameters"]["tuned_params"] == sum(record["parameters"]["modules"].values())
    assert record["parameters"]["gfm_params"] == 213_568
    assert record["weights"]["sha256"] is None
    assert record["device"]["threads"] == 1
    assert all(record["time"][key] > 0 for key in ("train_s", "test_s", "step_ms"))
    assert 100 < record["memory"]["peak_mb"] < 10_000


def test_predictions_of_a_classification_give_its_confusion(finished: dict[str, RunSpec]) -> None:
    spec = finished["classification"]
    record = read_record(spec.out)
    with np.load(spec.out / "predictions.npz") as arrays:
        counted = np.zeros((3, 3), int)
        np.add.at(counted, (arrays["labels"], arrays["predictions"]), 1)
        assert arrays["ids"].tolist() == [f"test{i}" for i in range(10)]
    assert counted.tolist() == record["confusion"]
    assert record["metrics"]["test"]["accuracy"] == pytest.approx(np.trace(counted) / 10)


def test_predictions_of_a_segmentation_give_its_confusion(finished: dict[str, RunSpec]) -> None:
    spec = finished["segmentation"]
    record = read_record(spec.out)
    with np.load(spec.out / "predictions.npz") as arrays:
        assert arrays["confusions"].shape == (10, 3, 3)
        assert arrays["confusions"].sum(0).tolist() == record["confusion"]
        labels, predicted = arrays["sample_labels"], arrays["sample_predictions"]
        assert labels.shape == predicted.shape == (8, 32, 32)
        row = arrays["ids"].tolist().index(arrays["sample_ids"][3])
        keep = labels[3] != -1
        assert np.trace(arrays["confusions"][row]) == (labels[3] == predicted[3])[keep].sum()
    assert record["confusion"][2] == [0, 0, 0]  # the class without a pixel; it has an IoU only if it was predicted
    assert (record["metrics"]["test"]["IoU"]["class2"] is None) is (sum(row[2] for row in record["confusion"]) == 0)


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_confidence_and_likelihood_are_kept_of_all_labels(finished: dict[str, RunSpec], task: str) -> None:
    spec = finished[task]
    test = read_record(spec.out)["metrics"]["test"]
    with np.load(spec.out / "predictions.npz") as arrays:
        found = dict(arrays)
    count, right, confidence = found["reliability"].sum((0, 1))
    assert count == (10 if task == "classification" else 10 * 30 * 32)  # the first two rows have no label
    assert right / count == pytest.approx(test["accuracy"])
    assert found["nll"].sum() / count == pytest.approx(test["loss"], rel=1e-5)
    assert 1 / 3 < confidence / count < 1
    assert found["reliability"].shape == (10, 15, 3)
    assert (found["reliability"][..., 0].sum(1) == count / 10).all()


def test_probabilities_of_a_classification_are_kept(finished: dict[str, RunSpec]) -> None:
    with np.load(finished["classification"].out / "predictions.npz") as arrays:
        found = dict(arrays)
    probabilities = found["probabilities"]
    assert (probabilities.dtype, probabilities.shape) == (np.float16, (10, 3))
    assert probabilities.argmax(1).tolist() == found["predictions"].tolist()
    np.testing.assert_allclose(probabilities.astype(float).sum(1), 1, atol=2e-3)
    true = probabilities[np.arange(10), found["labels"]].astype(float)
    np.testing.assert_allclose(-np.log(true), found["nll"], atol=2e-3)
    np.testing.assert_allclose(probabilities.max(1), found["reliability"][..., 2].sum(1), atol=1e-3)


def test_reliability_by_hand() -> None:
    confidence = torch.tensor([[[0.5, 0.6], [0.61, 1.0]], [[0.34, 1 / 15], [0.9, 0.35]]])
    right = torch.tensor([[[True, False], [True, True]], [[True, False], [True, True]]])
    labelled = torch.tensor([[[True, True], [True, True]], [[True, True], [False, True]]])
    found = reliability(confidence, right, labelled)
    expected = torch.zeros(2, 15, 3)
    expected[0, 7] = torch.tensor([1, 1, 0.5])
    expected[0, 8] = torch.tensor([1, 0, 0.6])  # the upper edge of its bin, 9 / 15
    expected[0, 9] = torch.tensor([1, 1, 0.61])
    expected[0, 14] = torch.tensor([1, 1, 1.0])
    expected[1, 5] = torch.tensor([2, 2, 0.69])
    expected[1, 0] = torch.tensor([1, 0, 1 / 15])
    torch.testing.assert_close(found, expected)


def test_deflection_by_class(finished: dict[str, RunSpec]) -> None:
    for task, tokens in (("classification", 10 * 16), ("segmentation", 10 * 16)):
        with np.load(finished[task].out / "deflection.npz") as arrays:
            assert arrays["angle"].shape == arrays["length"].shape == (4, 3)
            assert arrays["count"].sum() == pytest.approx(tokens)
            present = arrays["count"] > 0
            assert present.tolist() == [True, True, task == "classification"]
            assert (arrays["angle"][:, present] > 0).all()
            np.testing.assert_allclose(arrays["length"][:, present], 1, atol=1e-4)  # the hard constraint
            assert np.isnan(arrays["angle"][:, ~present]).all()


@pytest.mark.parametrize("task", ["classification", "segmentation"])
def test_saved_weights_reproduce_the_test_metrics_to_the_last_bit(finished: dict[str, RunSpec], task: str) -> None:
    found = evaluate(finished[task].out, device="cpu")
    assert found.identical
    assert "identical to the record" in str(found)


@pytest.mark.parametrize(
    ("loss", "agrees", "message"),
    [
        (1.0, True, "mIoU 0.500000, identical to the record"),
        (1.009, True, "mIoU 0.500000, in the record 0.500000 (another rounding)"),
        (1.02, False, "loss 1.02, in the record 1: more than rounding, so these are not the weights of the record"),
    ],
)
def test_message_of_an_evaluation(loss: float, agrees: bool, message: str) -> None:
    found = Evaluation(Path("run"), "mIoU", {"mIoU": 0.5, "loss": loss}, {"mIoU": 0.5, "loss": 1.0})
    assert found.agrees is agrees
    assert message in str(found)


def test_evaluation_refuses_other_data(finished: dict[str, RunSpec], tmp_path: Path) -> None:
    tiny_store(tmp_path / "other", "classification", classes=4)
    with pytest.raises(ModelError, match=r"other data: expected sha256 \w+, found \w+"):
        evaluate(finished["classification"].out, store=tmp_path / "other")


def save_weights(path: Path, seed: int) -> Path:
    """A weight file of the mini Scale-MAE with its card."""
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    card = gfm_card("scale_mae", "mini")
    save_file(build_vit(card).state_dict(), path)
    path.with_suffix(".json").write_text(json.dumps(card.to_dict()))
    return path


def test_weights_are_part_of_the_run_and_evaluation_refuses_others(tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "gfm.safetensors", 0)
    spec = tiny_spec(tmp_path, weights=weights, epochs=1)
    record = train(spec)
    assert record["weights"]["sha256"] == provenance.weights_sha256(weights)
    assert evaluate(spec.out, device="cpu").identical
    save_weights(weights, 1)
    with pytest.raises(ModelError, match="other weights"):
        evaluate(spec.out, device="cpu")
    assert train(spec)["fingerprint"] != record["fingerprint"]


def test_missing_weights_are_an_error_before_training(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="deflect gfm pretrain"):
        train(tiny_spec(tmp_path, weights=tmp_path / "absent.safetensors"))


def test_identity_changes_with_what_determines_a_result_and_with_nothing_else(tmp_path: Path) -> None:
    def identity(**changes: object) -> dict:
        return tiny_spec(tmp_path, **changes).identity("store")

    for change in ({"seed": 1}, {"lr": 1.0}, {"method": "slr"}, {"method_settings": {"rank": 2}}, {"variant": "x"}):
        assert identity(**change) != identity(), change
    for change in ({"study": "paper"}, {"dataset": "other"}, {"gfm": "dino_mc"}, {"gfm_size": "full"}):
        assert identity(**change) != identity(), change
    assert tiny_spec(tmp_path).identity("other store") != identity()
    for change in ({"checkpoint_every": 7}, {"threads": 2}, {"device": "cuda"}, {"wandb": {"mode": "offline"}}):
        assert identity(**change) == identity(), change
    assert json.loads(json.dumps(identity())) == identity()


OTHER_TRAINING = {
    "image_size": 64, "epochs": 9, "batch_size": 2, "lr": 0.5, "betas": (0.8, 0.9), "weight_decay": 0.5,
    "milestones": (0.5,), "gamma": 0.5, "precision": "bf16", "gradient_checkpointing": True, "augment": True,
    "crop": "focus", "gsd": 3.0, "dropout": 0.5, "upernet_channels": 16, "eval_batch_size": 3, "calibration_images": 9,
    "label_fraction": 0.5, "class_weights": "balanced", "focal_gamma": 2.0,
    "rgb_statistics": "dataset", "white": 0.2, "head_init": "torch", "drop_last": True, "validate_every": 2,
    "validate_untrained": True, "selection": "last", "f1_average": "micro", "absent_classes": "zero",
}  # fmt: skip


@pytest.mark.parametrize(
    "setting", sorted(set(TrainSettings.model_fields) - {"checkpoint_every", "checkpoint_minutes"})
)
def test_every_training_setting_is_part_of_the_identity(tmp_path: Path, setting: str) -> None:
    changed = tiny_spec(tmp_path, **{setting: OTHER_TRAINING[setting]})
    assert changed.identity("store") != tiny_spec(tmp_path).identity("store")


def test_packages_that_are_absent_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("torch", "no-such-package"))
    assert provenance.packages.__wrapped__().keys() == {"python", "deflect", "torch"}


def test_revision_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    state = provenance.code_state.__wrapped__()
    assert (state["revision"], state["dirty"]) == ("", False)
    assert state["sha256"] == code_sha256("train")


def test_records_are_checked_when_written_and_when_read(finished: dict[str, RunSpec], tmp_path: Path) -> None:
    record = read_record(finished["classification"].out)
    for changed, message in (
        (record | {"score": record["score"] | {"value": 53.2}}, r"score\.value.*fraction"),
        (record | {"data": record["data"] | {"origin": "?"}}, r"key data\.origin: no such entry"),
        ({k: v for k, v in record.items() if k != "platform"}, "key platform: expected str, found nothing"),
    ):
        with pytest.raises(DataError, match=message):
            write_record(tmp_path, changed)
    assert not (tmp_path / "record.json").exists()
    (tmp_path / "record.json").write_text(json.dumps({k: v for k, v in record.items() if k != "seed"}))
    with pytest.raises(DataError, match="key seed: expected int, found nothing"):
        read_record(tmp_path)
    with pytest.raises(FileNotFoundError, match="has not finished"):
        read_record(tmp_path / "absent")


def test_output_page_lists_the_record_that_the_code_defines() -> None:
    assert output_page.PAGE.read_text() == output_page.output_page(), "run `make docs`"


def test_wandb_is_off_by_default_the_variable_wins_and_a_wrong_mode_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert wandb_mode({}) == "disabled"
    assert wandb_mode({"mode": "online"}) == "online"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert wandb_mode({"mode": "disabled"}) == "offline"
    monkeypatch.setenv("WANDB_MODE", "of")
    with pytest.raises(ValueError, match=r"wandb\.mode .* found 'of'"):
        train(tiny_spec(tmp_path))


def test_training_continues_if_wandb_is_missing_or_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setitem(sys.modules, "wandb", None)  # importing it raises ImportError
    assert train(tiny_spec(tmp_path, epochs=1))["epochs"] == 1
    assert "goes on without it" in capsys.readouterr().err


def test_wandb_offline_copies_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    sent: dict[str, Any] = {}
    finish = wandb.Run.finish
    monkeypatch.setattr(wandb.Run, "finish", lambda run: (sent.update(run.summary, project=run.project), finish(run)))
    spec = tiny_spec(tmp_path, "segmentation", wandb={"mode": "offline", "project": "mine"})
    record = train(spec)
    assert sent["project"] == "mine"
    test, val = record["metrics"]["test"], record["metrics"]["val"]
    assert test["mIoU"] != val["mIoU"]
    assert [sent[f"test/{name}"] for name in ("mIoU", "accuracy")] == [test["mIoU"], test["accuracy"]]
    assert {name: sent[f"test/IoU/{name}"] for name in test["IoU"]} == test["IoU"]
    assert sent["tuned_params"] == record["parameters"]["tuned_params"]
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.rglob("*.mask.png"))
    test_split = Store(spec.store).split("test")
    with np.load(spec.out / "predictions.npz") as arrays:
        shown = sample_maps(arrays, record["classes"], test_split)
    rgb = np.load(spec.store / "test.images.npy")[sample_rows(10)][:, [2, 1, 0]]  # the store begins with B02, B03, B04
    for image, pixels in zip(shown, rgb.transpose(0, 2, 3, 1), strict=True):
        low, high = np.percentile(pixels, [2, 98])
        expected = 255 * np.clip((pixels - low) / (high - low), 0, 1)
        np.testing.assert_allclose(np.asarray(image.image), expected, atol=1)


def test_wandb_online_without_key_or_network_keeps_the_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("wandb").teardown()  # it keeps the variables of the test before
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": tmp_path, "WANDB_DIR": tmp_path, "WANDB_BASE_URL": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("WANDB_MODE", "online")
    assert train(tiny_spec(tmp_path, epochs=1))["epochs"] == 1
    assert "kept offline, to send with `wandb sync`" in capsys.readouterr().err
    sys.modules["wandb"].teardown()  # its service may still be writing
    (kept,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert b"seed0" in kept.read_bytes()
    assert os.environ["WANDB_MODE"] == "offline"


def test_training_imports_only_the_core() -> None:
    """For fast starts and machines without other packages. (timm imports tqdm, and wandb if installed.)"""
    heavy = {
        "h5py",
        "rasterio",
        "torchgeo",
        "spyndex",
        "earthlib",
        "pandas",
        "seaborn",
        "requests",
        "peft",
        "torchmetrics",
        "deflect.analysis",
    }
    code = f"import sys, deflect.training.run; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert found.stdout.strip() == "[]"
