"""Multi-label and regression runs: from a store to a record, its test again, tables, figures and trained models."""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import rasterio
import torch
from tiny_store import BANDS, tiny_spec, tiny_store

import deflect
from deflect.analysis import bootstrap, calibration, figures, paired, ranks, scores, summary, tables
from deflect.analysis.comparison import load_references
from deflect.analysis.figures.number_maps import Scale
from deflect.analysis.figures.style import encode
from deflect.analysis.records import StudyRuns, load_study
from deflect.analysis.render import markdown
from deflect.errors import ConfigError
from deflect.record import PREDICTIONS, read_record
from deflect.settings import METRICS, TASKS
from deflect.settings.claims import load_claims
from deflect.settings.training import TrainSettings
from deflect.trained.evaluate import evaluate
from deflect.trained.export import export_run
from deflect.trained.share import share
from deflect.training.batches import training_window
from deflect.training.context import Context
from deflect.training.few_labels import labelled_rows
from deflect.training.model import build_gfm, build_model
from deflect.training.outcomes import as_classes, token_classes
from deflect.training.run import train

NEW = ("multilabel", "regression", "pixel_regression")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two methods on a dataset of each task."""
    root = tmp_path_factory.mktemp("tasks")
    for task in TASKS:
        for method in ("deflect", "frozen"):
            epochs = 8 if method == "deflect" and task in NEW else 1
            train(tiny_spec(root, task, method, epochs=epochs, lr=1e-2, upernet_channels=16))
    return root


@pytest.fixture(scope="module")
def study(root: Path) -> StudyRuns:
    return load_study(root / "runs")


def run_of(root: Path, task: str, method: str = "deflect") -> Path:
    return root / "runs" / task / "scale_mae" / method / "seed0"


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("task", NEW)
def test_a_run_learns_and_is_tested_again_with_the_same_bits(root: Path, task: str) -> None:
    record = read_record(run_of(root, task))
    assert record["score"]["metric"] == METRICS[task]
    assert record["score"]["value"] > 0.3
    assert record["confusion"] == []
    assert evaluate(run_of(root, task), device="cpu").identical


@pytest.mark.parametrize("task", NEW)
def test_kept_predictions_give_the_score_of_the_record(root: Path, task: str) -> None:
    record = read_record(run_of(root, task))
    ids, images = bootstrap.image_results(run_of(root, task), record)
    assert len(ids) == 10
    assert bootstrap.score(images, METRICS[task]) == pytest.approx(record["score"]["value"], abs=1e-6)


def test_predictions_of_a_regression_are_in_its_unit(root: Path) -> None:
    """The mean of the target is 100 and more: an output that stays standardised would be near 0."""
    found = np.load(run_of(root, "regression") / PREDICTIONS)
    labels = np.load(root / "stores/regression/test.labels.npy")
    np.testing.assert_array_equal(found["labels"], labels)
    metrics = read_record(run_of(root, "regression"))["metrics"]["test"]
    errors = found["predictions"].astype(float) - labels
    assert metrics["RMSE"] == pytest.approx(np.sqrt(np.square(errors).mean()), rel=1e-6)
    spread = np.load(root / "stores/regression/train.labels.npy").std()
    assert metrics["loss"] == pytest.approx(np.square(errors / spread).mean(), rel=1e-4)
    maps = np.load(run_of(root, "pixel_regression") / PREDICTIONS)
    assert maps["sample_predictions"].dtype == np.float32
    assert 90 < maps["sample_predictions"].mean() < 130
    assert np.isnan(maps["sample_labels"][:, :2]).all()


def test_an_untrained_regression_predicts_about_the_mean_of_its_training_labels(tmp_path: Path) -> None:
    store = tiny_store(tmp_path, "regression")
    context = Context(TrainSettings(image_size=32))
    model = build_model(build_gfm("scale_mae", None, "mini", store.card, context), "frozen", {}, store.card, context)
    mean, std = store.card.target or ()
    images = store.split("train").batch([0, 1])[0]
    with torch.inference_mode():
        numbers = model.eval()(images)
        standardised = (numbers - mean) / std
        torch.testing.assert_close(
            model.head.head(model.adapted.forward_intermediates(images, indices=model.taps)),
            standardised,
            atol=1e-4,
            rtol=1e-4,
        )
    assert standardised.abs().max() < 2
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = model(images)
    assert half.dtype == torch.float32
    assert (half - numbers).abs().max() < 0.1 * std  # bfloat16 would round 100 to multiples of 0.5


def test_settings_that_a_regression_does_not_have_are_refused(tmp_path: Path) -> None:
    for changes, message in (
        ({"selection": "accuracy"}, "training.selection: a regression has no accuracy"),
        ({"class_weights": "balanced"}, "class_weights and focal_gamma: not for a regression"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(tiny_spec(tmp_path, "regression", **changes))


@pytest.mark.parametrize("task", ["segmentation", "multilabel"])
def test_class_weights_and_the_focal_loss_change_the_training(root: Path, tmp_path: Path, task: str) -> None:
    losses = set()
    for changes in ({}, {"class_weights": "balanced"}, {"focal_gamma": 2.0}):
        record = train(tiny_spec(tmp_path / str(len(losses)), task, "frozen", epochs=1, upernet_channels=8, **changes))
        losses.add(
            (tmp_path / f"{len(losses)}/runs/{task}/scale_mae/frozen/seed0/history.csv").read_text().split(",")[7]
        )
        assert record["score"]["metric"] == METRICS[task]
    assert len(losses) == 3


# ---------------------------------------------------------------- labels in training


def test_few_labels_of_a_regression_are_from_all_tenths(tmp_path: Path) -> None:
    store = tiny_store(tmp_path, "regression", sizes={"train": 60, "val": 4, "test": 4})
    rows = labelled_rows(store, 0.5)
    order = np.argsort(np.argsort(store.split("train").labels))
    assert np.bincount(order[rows] * 10 // 60, minlength=10).tolist() == [3] * 10
    assert set(labelled_rows(store, 0.05)) < set(rows)  # fewer images than tenths are no error


def test_few_labels_of_a_multilabel_show_every_class(tmp_path: Path) -> None:
    store = tiny_store(tmp_path, "multilabel")
    assert store.split("train").labels[labelled_rows(store, 0.2)].any(axis=0).all()


def test_windows_are_drawn_around_pixels_with_a_number() -> None:
    label = np.full((12, 12), np.nan, np.float32)
    label[9, 2] = -1.0  # a number, not a missing label
    window = training_window(np.random.default_rng(0).random((50, 2)), TrainSettings(image_size=4, crop="focus"))
    for place in range(50):
        assert np.isfinite(label[window(place, label)]).sum() == 1


def test_tokens_count_for_the_labels_of_their_image() -> None:
    several = token_classes(torch.tensor([[1, 1, 0], [0, 0, 0]]), 3, 4)
    assert several[0].tolist() == [[0.5, 0.5, 0]] * 4
    assert several[1].sum() == 0
    numbers = as_classes("pixel_regression", torch.tensor([[[1.5, torch.nan], [torch.nan, torch.nan]]]))
    assert token_classes(numbers, 1, 4)[0, :, 0].tolist() == [1, 0, 0, 0]


# ---------------------------------------------------------------- analysis


def test_the_bootstrap_of_map_equals_scores_of_the_drawn_images() -> None:
    from torchmetrics.functional.classification import multilabel_average_precision

    random = np.random.default_rng(0)
    labels = (random.random((15, 3)) < 0.3).astype(float)
    probabilities = (random.random((15, 3)) * 10).round() / 10  # with ties
    images = np.stack([probabilities, labels], axis=1)
    [found] = bootstrap.bootstrap_scores([images], [bootstrap.Rule("mAP")], 30, seed=1)
    [weights] = bootstrap.resamples(15, 30, seed=1)
    for value, weight in zip(found, weights, strict=True):
        p, y = (torch.from_numpy(part.repeat(weight.astype(int), axis=0)) for part in (probabilities, labels))
        present = y.sum(0) > 0
        expected = multilabel_average_precision(p, y.long(), 3, average="none")[present].mean().item()
        assert value == pytest.approx(expected, abs=1e-6)


def test_the_bootstrap_of_r2_equals_scores_of_the_drawn_images() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(50, 2, 12)
    error = random.normal(0, 1, 12)
    images = np.stack([np.ones(12), truth, truth**2, error**2], axis=1)
    [found] = bootstrap.bootstrap_scores([images], [bootstrap.Rule("R2")], 30, seed=1)
    [weights] = bootstrap.resamples(12, 30, seed=1)
    for value, weight in zip(found, weights, strict=True):
        y, e = (part.repeat(weight.astype(int)) for part in (truth, error))
        assert value == pytest.approx(1 - (e**2).sum() / ((y - y.mean()) ** 2).sum(), abs=1e-9)


def test_methods_are_compared_on_every_task(study: StudyRuns) -> None:
    for task in NEW:
        runs = study.main[study.main.dataset == task]
        found = paired.compare(runs[runs.method == "deflect"], runs[runs.method == "frozen"], resamples=200)
        assert found.low <= found.difference <= found.high


def test_tables_name_the_metrics_and_average_over_tasks(study: StudyRuns) -> None:
    assert study.metrics == METRICS
    text = markdown(tables.main(study).printed)
    for heading in ("multilabel mAP", "regression R²", "pixel_regression R²", "segmentation mIoU"):
        assert heading in text
    assert "R²: the share of the variance" in text
    cells = scores.by_cell(study).set_index(["dataset", "method", "metric"])["mean"]
    record = read_record(study.main.query("dataset == 'regression' and method == 'deflect'").folder.iloc[0])
    assert cells["regression", "deflect", "RMSE"] == pytest.approx(record["metrics"]["test"]["RMSE"], abs=1e-4)
    assert cells["regression", "deflect", "R2"] == pytest.approx(100 * record["score"]["value"], abs=1e-4)
    values = [100 * value for value in study.main[study.main.method == "deflect"].score]
    average = scores.averages(study).set_index("method")["mean"]["deflect"]
    assert average == pytest.approx(np.mean(values), abs=1e-3)
    assert len(ranks.ranks(study, 100).frame) == 2


def test_regressions_are_left_out_where_there_are_no_classes(study: StudyRuns) -> None:
    found = calibration.calibration(study)
    assert set(found.frame.dataset) == {"classification", "segmentation", "multilabel", "average"}
    assert not any("earlier version" in note for note in found.printed.notes)
    labels = [axes.get_ylabel() for axes in figures.confusion_matrices(study).axes]
    assert {text for text in labels if text} == {"classification", "segmentation"}


def test_a_study_of_regressions_alone_has_all_tables_and_figures(root: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/regression").symlink_to(root / "runs/regression")
    study = load_study(tmp_path / "runs")
    calibration.calibration(study)
    for name in figures.__all__:
        if name not in ("save", "segmentation_maps"):
            extra = ["scale_mae"] if name == "inside_deflect_classes" else []
            getattr(figures, name)(study, *extra)


def test_maps_of_a_pixel_regression_show_truth_prediction_and_error(root: Path, study: StudyRuns) -> None:
    drawn = figures.segmentation_maps(study, "pixel_regression", "scale_mae", root / "stores/pixel_regression", 1)
    encode(drawn, "png")
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles[1:4] == ["truth", "DEFLECT", "Frozen\n(RGB)"]
    assert {"biomass (t/ha)", "absolute error"} <= {axes.get_xlabel() for axes in drawn.axes}
    found = np.load(run_of(root, "pixel_regression") / PREDICTIONS)
    best = np.nanargmax([np.nanstd(one) for one in found["sample_labels"]])
    truth, predicted = found["sample_labels"][best], found["sample_predictions"][best]
    scale = Scale.of(truth)
    shown = [axes.images[0].get_array() for axes in drawn.axes if axes.images]
    assert any(np.array_equal(image, scale.paint(predicted)) for image in shown)
    assert any(np.array_equal(image, scale.errors(truth, predicted)) for image in shown)
    assert (scale.paint(truth)[:2] == 1).all()  # pixels without a number are white
    np.testing.assert_allclose(scale.errors(truth, truth)[5, 5], mpl.colormaps["Reds"](0.0)[:3])


def test_the_summary_says_how_other_tasks_are_averaged(study: StudyRuns) -> None:
    references, claims = load_references(ROOT / "references/paper.csv"), load_claims(ROOT / "references/claims.yaml")
    page = summary.summary(study, references, claims, 100)
    assert "Datasets of tasks that the paper does not have are averaged as R², mAP" in page


# ---------------------------------------------------------------- trained models


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 x 72 pixels, without a measurement in a corner."""
    image = np.random.default_rng(1).normal(0.2, 0.02, (len(BANDS), 40, 72)).astype(np.float32)
    image[:, :4, :4] = np.nan
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", image)


def write_scene(path: Path, image: np.ndarray) -> Path:
    kind = {"driver": "GTiff", "count": len(image), "dtype": "float32", "crs": "EPSG:32633", "nodata": np.nan}
    grid = {"height": image.shape[1], "width": image.shape[2], "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(path, "w", **kind, **grid) as file:
        file.write(image)
        file.descriptions = BANDS.names
    return path


def test_maps_of_numbers_and_of_several_labels(root: Path, scene: Path, tmp_path: Path) -> None:
    with rasterio.open(scene) as file:
        image = torch.from_numpy(file.read())
    run = deflect.load_run(run_of(root, "pixel_regression"), device="cpu")
    with rasterio.open(run.predict_scene(scene, tmp_path / "numbers.tif")) as file:
        found = file.read()
        assert (file.dtypes, file.descriptions) == (("float32",), ("biomass (t/ha)",))
        assert np.isnan(file.nodata)
    assert found.shape == (1, 40, 72)
    assert np.isnan(found[0, :4, :4]).all()
    assert np.isfinite(found).sum() == 40 * 72 - 16
    alone = run.predict(image[None, :, 8:, 40:]).numpy()  # the lower right window of the scene
    np.testing.assert_allclose(found[0, 32:, 66:], alone[0, 0, 24:, 26:], rtol=1e-5)

    window = image[None, :, 8:40, 16:48]
    run = deflect.load_run(run_of(root, "multilabel"), device="cpu")
    with rasterio.open(run.predict_scene(scene, tmp_path / "labels.tif", stride=16)) as file:
        found = file.read()
        assert (file.count, file.dtypes[0], file.descriptions) == (3, "uint8", ("class0", "class1", "class2"))
    percent = (100 * run.predict(window).sigmoid()).round().numpy()[0]
    assert (abs(found[:, 1] - percent[:, None]).min(axis=1) <= 1).all()

    run = deflect.load_run(run_of(root, "regression"), device="cpu")
    with rasterio.open(run.predict_scene(scene, tmp_path / "number.tif", stride=16)) as file:
        found = file.read()
    assert (found.shape, found.dtype) == ((1, 3, 5), np.float32)
    assert 80 < found.min() < found.max() < 150


def test_options_that_a_task_does_not_have_are_refused(root: Path, scene: Path, tmp_path: Path) -> None:
    for task, options, message in (
        ("regression", {"probabilities": True}, "--probabilities: a regression has none"),
        ("regression", {"overlap": 0.5}, "overlap: only for maps of tasks with labels of pixels; a regression has"),
        ("pixel_regression", {"stride": 8}, "stride: only for maps of tasks with labels of images; a pixel_regression"),
    ):
        with pytest.raises(ConfigError, match=message):
            deflect.load_run(run_of(root, task), device="cpu").predict_scene(scene, tmp_path / "x.tif", **options)
    with pytest.raises(ConfigError, match="a pixel_regression has maps, not labels"):
        deflect.load_run(run_of(root, "pixel_regression"), device="cpu").label_files([scene], tmp_path / "x.csv")


def test_tables_of_files_have_probabilities_or_numbers(root: Path, tmp_path: Path) -> None:
    images = np.load(root / "stores/multilabel/test.images.npy")[:3]
    files = [write_scene(tmp_path / f"{i}.tif", image) for i, image in enumerate(images)]
    run = deflect.load_run(run_of(root, "multilabel"), device="cpu")
    rows = list(csv.reader(run.label_files(files, tmp_path / "labels.csv").open()))
    assert rows[0] == ["file", "classes", "class0", "class1", "class2"]
    kept = np.load(run_of(root, "multilabel") / PREDICTIONS)["probabilities"][:3]
    np.testing.assert_allclose(np.array([row[2:] for row in rows[1:]], float), kept, atol=1e-5)
    for row, values in zip(rows[1:], kept, strict=True):
        assert row[1] == "|".join(f"class{k}" for k in np.flatnonzero(values > 0.5))

    images = np.load(root / "stores/regression/test.images.npy")[:3]
    files = [write_scene(tmp_path / f"{i}.tif", image) for i, image in enumerate(images)]
    run = deflect.load_run(run_of(root, "regression"), device="cpu")
    rows = list(csv.reader(run.label_files(files, tmp_path / "numbers.csv").open()))
    assert rows[0] == ["file", "biomass (t/ha)"]
    kept = np.load(run_of(root, "regression") / PREDICTIONS)["predictions"][:3]
    np.testing.assert_allclose([float(row[1]) for row in rows[1:]], kept, rtol=1e-5)


@pytest.mark.parametrize("task", NEW)
def test_a_shared_model_predicts_and_describes_the_same(root: Path, tmp_path: Path, task: str) -> None:
    run = deflect.load_run(run_of(root, task), device="cpu")
    share(run.folder, tmp_path / "shared")
    again = deflect.load(tmp_path / "shared", device="cpu")
    images = run.random_images(2)
    assert torch.equal(again.predict(images), run.predict(images))
    page = (tmp_path / "shared/README.md").read_text()
    assert ("mAP" if task == "multilabel" else "RMSE and MAE are in the unit of biomass (t/ha)") in page
    stac = deflect.files.read_json(tmp_path / "shared/model.stac.json")["properties"]
    assert stac["mlm:tasks"] == ["classification" if task == "multilabel" else "regression"]


@pytest.mark.slow
def test_an_exported_regression_predicts_in_the_unit_of_its_target(root: Path, tmp_path: Path) -> None:
    run = deflect.load_run(run_of(root, "regression"), device="cpu")
    export_run(run, "pt2", tmp_path / "run.pt2")
    images = run.random_images(2)
    with open(tmp_path / "run.pt2", "rb") as file:
        found = torch.export.load(file).module()(images)
    torch.testing.assert_close(found, run.predict(images), rtol=1e-4, atol=1e-3)
    assert found.mean() > 80
