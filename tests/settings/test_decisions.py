"""The list of decisions is complete, fits the studies and is refused where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from paths import ROOT

from deflect import config
from deflect.config import decisions, load
from deflect.errors import ConfigError
from deflect.settings import DATASETS, METHODS, PAPER_DATASETS
from deflect.settings.decisions import variants_of
from deflect.settings.methods import CONFIGS
from deflect.settings.study import Study
from deflect.settings.training import TrainSettings

DECISIONS = decisions(ROOT / config.DECISIONS)
#: Settings that decide nothing about the reconstruction: sizes that the paper states, memory, speed and files.
NO_DECISION = {
    "image_size", "betas", "weight_decay", "milestones", "gamma", "gradient_checkpointing", "dropout", "epochs",
    "upernet_channels", "eval_batch_size", "calibration_images", "checkpoint_every", "checkpoint_minutes",
    "label_fraction", "class_weights", "focal_gamma",
}  # fmt: skip


def studies() -> list[Study]:
    names = yaml.safe_load((ROOT / "config.yaml").read_text())["studies"]
    found = [load(ROOT / "config.yaml", name).study for name in names]
    return [study for study in found if study.alternatives]


def settings_of(study: Study, dataset: str) -> TrainSettings:
    task = "segmentation" if dataset in ("burn_scars", "mados") else "classification"
    return study.training_of(dataset, task)


def test_every_decision_of_training_is_in_the_list():
    listed = {
        key for found in DECISIONS.values() for c in (found.choice, *found.alternatives.values()) for key in c.training
    }
    assert listed == set(TrainSettings.model_fields) - NO_DECISION


def test_the_paper_study_follows_the_choices():
    paper = load(ROOT / "config.yaml", "paper")
    for name, found in DECISIONS.items():
        for dataset in found.datasets or paper.study.datasets:
            training = settings_of(paper.study, dataset).to_dict()
            assert {key: training[key] for key in found.choice.training} == found.choice.training, (name, dataset)
        for method in found.methods:
            chosen = CONFIGS[method](**paper.method(method).settings).model_dump(mode="json")
            assert {key: chosen[key] for key in found.choice.settings} == found.choice.settings, (name, method)


def test_every_alternative_differs_from_what_its_study_does():
    assert {study.name for study in studies()} >= {"sensitivity"}
    for study in studies():
        for name in study.alternatives.keys() & study.additional().keys():
            variant = study.alternatives[name]
            method = load(ROOT / "config.yaml", study.name).method
            base = CONFIGS[variant.method](**method(variant.method).settings)
            other = CONFIGS[variant.method](**method(name).settings)
            for dataset in set(variant.datasets or DATASETS) & set(study.variants.datasets):
                before = settings_of(study, dataset).to_dict()
                assert (base, before) != (other, before | variant.training), f"{study.name}: {name} on {dataset}"


def test_variants_run_on_the_datasets_that_the_decision_concerns():
    study = load(ROOT / "config.yaml", "sensitivity").study
    runs = {run.dataset for run in study.runs() if run.method == "deflect+crop=random"}
    assert runs == {"mados"}
    assert {run.dataset for run in study.runs() if run.method == "lora+gsd=image"} == set(PAPER_DATASETS)


def test_a_decision_about_datasets_that_a_study_lacks_does_not_run():
    study = load(ROOT / "config.yaml", "mini_evidence").study
    assert "deflect+crop=random" in study.alternatives
    assert "deflect+crop=random" not in study.additional()
    assert {run.method for run in study.runs()} == {*study.methods, *study.additional()}


GOOD = """
gsd:
  title: GSD
  choice: {text: one, training: {gsd: 1.0}}
  why: because
  confidence: low
  methods: [deflect]
  alternatives: {image: {text: own, training: {gsd: null}}}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("alternatives: {image: {text: own, training: {gsd: null}}}", "", "gsd: expected alternatives and the methods"),
        ("{gsd: null}", "{gsdd: null}", r"gsd.alternatives.image.training: unknown key 'gsdd'; did you mean 'gsd'\?"),
        ("[deflect]", "[deflekt]", "gsd.methods.0: unknown method 'deflekt'; did you mean 'deflect'"),
        ("{text: own, training: {gsd: null}}", "{text: own, settings: {rnk: 1}}", "image.*unknown key 'rnk'.*'rank'"),
        ("confidence: low", "confidence: none", "gsd.confidence: unknown value 'none'"),
        ("why: because", "", "gsd.why: missing; add it"),
    ],
)
def test_a_wrong_list_is_one_line_with_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "decisions.yaml"
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigError, match=message) as caught:
        variants_of(decisions(path), METHODS)
    assert "\n" not in str(caught.value)
