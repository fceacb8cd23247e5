"""Errors in the configuration are one line with the key and the remedy, before anything runs."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from typing import get_args

import pytest
import yaml
from configuration_page import configuration_page, schema
from paths import ROOT

from deflect.analysis.records import expected_runs
from deflect.bands import bandset
from deflect.config import load, parse
from deflect.data import catalog
from deflect.errors import ConfigError
from deflect.gfms import CARDS
from deflect.methods import registry
from deflect.settings import DATASETS, METHODS, PAPER_DATASETS
from deflect.settings.methods import CONFIGS
from deflect.settings.study import PublishedSizes, StudySettings
from deflect.settings.training import TrainSettings
from deflect.workflow import grid

GOOD = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path: str, value: object) -> dict:
    """config.yaml with one key set; ``path`` uses dots."""
    config = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    node = config
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return config


VARIANT = {
    "datasets": ["so2sat"],
    "gfms": ["scale_mae"],
    "settings": {"lora+rank1": {"method": "lora", "settings": {"rank": 1}}},
}
BAD = [
    ("study", "minni", "unknown study 'minni'; did you mean 'mini'?"),
    ("methods.lora", {"rnk": 8}, "methods.lora: unknown key 'rnk'; did you mean 'rank'?"),
    ("methods", {"lorra": {}}, "methods: unknown key 'lorra'; did you mean 'lora'?"),
    ("studies.mini.methods", ["deflect", "lorra"], "unknown method 'lorra'; did you mean 'lora'?"),
    ("studies.mini.methods", ["peft:"], "studies.mini.methods.0: unknown method 'peft:'; did you mean 'peft:NAME'?"),
    ("methods.peft:dora", {"optons": {}}, "methods.peft:dora: unknown key 'optons'; did you mean 'options'?"),
    ("methods.peft:dora", 8, "methods.peft:dora: expected a mapping, found 8"),
    ("studies.mini.gfms", ["scale_mea"], "mini.gfms: unknown GFM 'scale_mea'; did you mean 'scale_mae'?"),
    (
        "studies.mini.own_gfms",
        {"dino_mc": {"timm": "vit_tiny_patch16_224"}},
        "own_gfms: 'dino_mc' is the name of a publ",
    ),
    ("studies.mini.own_gfms", {"so2sat": {"timm": "vit_tiny_patch16_224"}}, "own_gfms: 'so2sat' is the name of a publ"),
    ("studies.mini.own_gfms", {"a": {"weight": "x"}}, "own_gfms.a: unknown key 'weight'; did you mean 'weights'?"),
    ("studies.mini.own_gfms", {"a": {}}, "studies.mini.own_gfms.a.timm: missing; add it"),
    ("studies.mini.own_gfms", {"a": {"timm": "v", "gsd": 10}}, "own_gfms.a.gsd: unknown value 10; known: none, image"),
    (
        "studies.mini.own_gfms",
        {"a": {"timm": "v", "std": [1, 1, 0]}},
        "own_gfms.a.std.2: expected greater than 0, found",
    ),
    ("studies.mini.own_gfms", {"a": {"timm": "v"}, "b": {"timm": "v"}}, "own_gfms: several have the title 'v'; give"),
    ("studies.mini.own_gfms", {"my-vit": {"timm": "v"}}, "studies.mini.own_gfms.my-vit"),
    ("studies.mini.datasets", ["so2sta"], "unknown dataset 'so2sta'; did you mean 'so2sat'?"),
    ("studies.mini.seed", [1], "studies.mini: unknown key 'seed'; did you mean 'seeds'?"),
    ("studies.mini.seeds", [], "studies.mini.seeds"),
    ("studies.mini.training.segmentation", {"epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'?"),
    ("studies.mini.training.segmentation", {"epochs": "many"}, "studies.mini.training.segmentation.epochs"),
    ("studies.mini.training.madoss", {"epochs": 3}, "'madoss' is neither a task nor a dataset; did you mean 'mados'?"),
    ("wandb.mode", "ofline", "unknown value 'ofline'; did you mean 'offline'?"),
    ("wandbs", {}, "top level: unknown key 'wandbs'; did you mean 'wandb'?"),
    ("studies.mini.training", {"segmentation": {}}, "studies.mini: training.classification is missing; add it"),
    (
        "studies.mini.training.segmentation.lr",
        "1e-4",
        "found '1e-4' (YAML takes 1e-4 for text: write 1.0e-4 or 0.0001)",
    ),
    ("studies.mini.training.segmentation.lr", float("nan"), "segmentation.lr: expected a finite number, found nan"),
    ("studies.mini.training.segmentation.augment", "no", "augment: expected a valid boolean, found 'no'"),
    ("studies.mini.training.segmentation.epochs", True, "epochs: expected a valid integer, found True"),
    ("studies.mini.training.segmentation.epochs", 0, "epochs: expected greater than or equal to 1, found 0"),
    ("studies.mini.seeds", [0, 0], "studies.mini.seeds: expected a list without repeats, found [0, 0]"),
    ("studies.mini.datasets", "so2sat", "studies.mini.datasets: expected a list, found 'so2sat'"),
    ("studies.mini.simulation.sizes.mados", {"train": 4, "val": 2}, "simulation.sizes.mados.test: missing; add it"),
    ("studies.mini.weights", {"scale_mae": "large"}, "weights.scale_mae: unknown value 'large'; known: full"),
    ("studies.mini.variants", VARIANT | {"datasets": []}, "variants: expected datasets and gfms"),
    ("studies.mini.variants", VARIANT | {"gfm": ["scale_mae"]}, "variants: unknown key 'gfm'; did you mean 'gfms'?"),
    (
        "studies.mini.variants.settings",
        {"lora+rank1": {"method": "lora", "settings": {"rnk": 1}}},
        "variants.settings.lora+rank1.settings: unknown key 'rnk'; did you mean 'rank'?",
    ),
    ("studies.mini.label_fractions", [0, 1], "label_fractions.0: expected greater than 0, found 0"),
    ("studies.mini.label_fractions", [1.5], "label_fractions.0: expected less than or equal to 1, found 1.5"),
    ("studies.mini.label_fractions", [0.1, 0.1], "label_fractions: expected a list without repeats, found [0.1, 0.1]"),
    ("studies.mini.label_fractions", ["10%"], "label_fractions.0: expected a valid number, found '10%'"),
    ("studies.mini.label_fractions", 0.1, "label_fractions: expected a list, found 0.1"),
    ("studies.mini.label_fractions", [], "label_fractions: expected at least 1 item, found []"),
    ("studies.mini.tuning", {"trails": 9}, "studies.mini.tuning: unknown key 'trails'; did you mean 'trials'?"),
    ("studies.mini.tuning.trials", 0, "studies.mini.tuning.trials: expected greater than or equal to 1, found 0"),
    (
        "studies.mini.tuning.lr",
        [1e-2, 1e-5],
        "tuning.lr: expected the lowest, then the highest learning rate, found [0.01, 1e-05]",
    ),
    ("studies.mini.tuning.lr", [1e-3], "studies.mini.tuning.lr: expected at least 2 items, found [0.001]"),
    ("studies.mini.tuning.lr", [0.0, 1e-3], "studies.mini.tuning.lr.0: expected greater than 0, found 0.0"),
    ("studies.mini.tuning.ranks", [2, 0], "studies.mini.tuning.ranks.1: expected greater than or equal to 1, found 0"),
    ("studies.mini.tuning.methods", ["lorra"], "tuning.methods.0: unknown method 'lorra'; did you mean 'lora'?"),
    ("methods.deflect", {"blocks": []}, "methods.deflect.blocks: expected 'all' or at least 1 item, found []"),
    ("methods", None, "methods: expected a mapping, found None"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD, ids=[f"{path} {value}" for path, value, _ in BAD])
def test_error_is_one_line_with_a_remedy(path, value, message):
    with pytest.raises(ConfigError) as caught:
        parse(changed(path, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_broken_yaml(tmp_path):
    with pytest.raises(ConfigError, match="not found"):
        load(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text("study: [mini")
    with pytest.raises(ConfigError, match="not a YAML mapping") as caught:
        load(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_every_study_of_the_file_is_valid():
    for study in GOOD["studies"]:
        config = load(ROOT / "config.yaml", study)
        assert config.study.name == study
        assert set(config.study.datasets) <= set(PAPER_DATASETS)


def test_own_gfm_of_the_page_is_valid_and_among_the_runs():
    page = (ROOT / "docs/gfms.md").read_text()
    mine = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL).group(1))["studies"]["mine"]
    study = parse(changed("studies.mini", GOOD["studies"]["mini"] | mine)).study
    assert {run.gfm for run in study.runs()} == {"scale_mae", "my_vit"}
    assert {"vpt", "peft:dora"} < {run.method for run in study.runs()}
    assert (study.size_of("my_vit"), study.own_gfms["my_vit"].title) == ("own", "My ViT-S/14")


def test_runs_of_a_study_are_those_that_its_tables_expect():
    study = load(ROOT / "config.yaml", "paper").study
    names = ["{}/{}/{}/seed{}".format(*run) for run in study.runs()]
    assert len(set(names)) == 5 * 3 * 10 * 3 + 5 * 11 * 3
    assert names == expected_runs(grid(study))


def test_few_labels_are_runs_of_every_method_on_the_part_of_the_variants():
    config = parse(changed("studies.mini.label_fractions", [0.01, 0.1, 1]))
    study = config.study
    few = [run for run in study.runs() if "+labels=" in run.method]
    names = {f"{method}+labels={share}" for method in study.methods for share in (0.01, 0.1)}
    assert study.parts()["labels"].keys() == names == {run.method for run in few}
    assert {run[:2] for run in few} == {("so2sat", "scale_mae"), ("burn_scars", "scale_mae")}
    assert len(study.runs()) == len(parse(GOOD).study.runs()) + 2 * 2 * len(study.methods)
    lora = config.method("lora+labels=0.01")
    assert (lora.method, lora.settings, lora.training) == ("lora", {"rank": 16}, {"label_fraction": 0.01})
    with pytest.raises(ConfigError, match=r"studies.mini: label_fractions below 1: expected variants.datasets"):
        parse(changed("studies.mini", GOOD["studies"]["mini"] | {"variants": {}, "label_fractions": [0.1]}))


def test_tuned_runs_are_part_of_the_study_only_with_tuning():
    assert parse(GOOD).study.tuned() == {}
    study = parse(changed("studies.mini.tuning", {"methods": ["lora", "frozen"]})).study
    assert {name: variant.method for name, variant in study.parts()["tuned"].items()} == {
        "lora+tuned": "lora",
        "frozen+tuned": "frozen",
    }
    tuned = {run for run in study.runs() if run.method.endswith("+tuned")}
    assert len(tuned) == 2 * len(study.variants.datasets) * len(study.variants.gfms)
    assert len(parse(changed("studies.mini.tuning", {})).study.tuned()) == len(study.methods)


def test_tuning_needs_a_part_of_the_study_on_which_it_runs():
    config = changed("studies.mini.tuning", {"methods": ["lora"]})
    with pytest.raises(ConfigError, match=r"studies\.mini: tuning\.methods: lora not among the study's methods"):
        parse(config | {"studies": {"mini": config["studies"]["mini"] | {"methods": ["deflect"]}}})
    with pytest.raises(ConfigError, match=r"studies\.mini: tuning: expected variants\.datasets and variants\.gfms"):
        parse(config | {"studies": {"mini": config["studies"]["mini"] | {"variants": {}}}})


def test_variant_inherits_the_methods_settings():
    config = parse(changed("studies.mini.variants", VARIANT))
    assert config.method("lora+rank1").settings == {"rank": 1}
    assert config.method("lora").settings == {"rank": 16}


def test_paper_study_is_the_papers_protocol():
    """Section 4 of the paper's reconstruction; settings missing in config.yaml come from TrainSettings."""
    study = load(ROOT / "config.yaml", "paper").study
    classification = TrainSettings.from_dict(study.training["classification"])
    segmentation = TrainSettings.from_dict(study.training["segmentation"])
    for settings in (classification, segmentation):
        assert (settings.lr, settings.betas, settings.weight_decay) == (1e-4, (0.9, 0.999), 0.05)
        assert (settings.milestones, settings.gamma, settings.image_size) == ((0.6, 0.9), 0.1, 224)
    assert (classification.epochs, segmentation.epochs) == (50, 80)
    assert (classification.batch_size, segmentation.batch_size, segmentation.upernet_channels) == (8, 8, 512)


def test_settings_have_the_names_of_the_other_modules():
    published = {(gfm, size) for gfm, size in CARDS if size != "mini"}
    assert {
        (gfm, size) for gfm, field in PublishedSizes.model_fields.items() for size in get_args(field.annotation)
    } == published
    assert set(CONFIGS) == {*registry.MODELS, *registry.CHANGES, "frozen"}
    assert set(METHODS) < set(CONFIGS)
    assert tuple(catalog.DATASETS) == DATASETS
    misnamed = [name for name in DATASETS if catalog.AS_PUBLISHED[name] is not catalog.DATASETS[name]]
    assert [StudySettings.model_json_schema()["properties"]["as_published"]["items"]["const"]] == misnamed


def test_settings_need_no_torch():
    code = "import deflect.settings.study, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_schema_is_the_one_that_the_code_generates():
    assert (ROOT / "workflow/schemas/config.schema.json").read_text() == schema(), "run `make schema`"


def test_schema_accepts_the_configuration_and_refuses_unknown_keys():
    """As in an editor."""
    jsonschema = pytest.importorskip("jsonschema")  # comes with Snakemake
    validator = jsonschema.Draft202012Validator(json.loads(schema()))
    assert validator.is_valid(GOOD)
    assert not validator.is_valid(changed("methods.lora", {"rnk": 8}))


def test_bands_are_found_by_identity():
    shuffled = bandset("sentinel2", ["B12", "B02", "B8A", "B04", "B03"])
    assert shuffled.rgb == (3, 4, 1)
    assert shuffled.channel_of_role("N") == 2  # the narrow near infrared stands in for the absent B08
    with pytest.raises(ConfigError, match="no red and no blue band"):
        _ = bandset("sentinel2", ["B03", "B08"]).rgb
    with pytest.raises(ConfigError, match="B03 occurs more than once"):
        bandset("sentinel2", ["B03", "B03"])
    with pytest.raises(ConfigError, match="no band 'B13'"):
        bandset("sentinel2", ["B13"])


def test_configuration_page_is_the_one_that_the_code_generates():
    assert (ROOT / "docs/configuration.md").read_text() == configuration_page(), "run `make docs`"


def test_other_tasks_start_from_the_training_of_the_papers_tasks():
    config = copy.deepcopy(GOOD)
    training = config["studies"]["mini"]["training"]
    training |= {"regression": {"lr": 0.5}, "mados": {"batch_size": 3}}
    study = parse(config | {"study": "mini"}).study
    kinds = {"multilabel": "classification", "regression": "classification", "pixel_regression": "segmentation"}
    for task, kind in kinds.items():
        own = {"lr": 0.5} if task == "regression" else {}
        assert study.training_of("my_data", task) == TrainSettings(**(training[kind] | own))
    assert study.training_of("mados", "pixel_regression").batch_size == 3
    assert TrainSettings(f1_average="micro").metric("multilabel") == "mAP"
