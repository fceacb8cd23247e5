"""A shared folder gives back the model of the run, and what its pages say is true."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pystac
import pytest
import torch
import yaml
from own_vit import in_hub_cache
from page_code import python_blocks
from pystac.extensions.mlm import MLMExtension
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from safetensors.torch import load_file
from shared_models import Shared, share_tiny
from tiny_store import tiny_spec

import deflect
from deflect import cli
from deflect.data.store import Store
from deflect.errors import ConfigError, DownloadError, ModelError
from deflect.files import read_json, write_json
from deflect.gfms.own import convert_own
from deflect.settings.own_gfm import OwnGFM
from deflect.trained.share import share
from deflect.training.run import train

STUDY_ONLY = ["dvc", "h5py", "jsonschema", "pandas", "peft", "pystac", "rasterio", "requests", "snakemake", "torchgeo"]
TASKS = pytest.mark.parametrize("shared", ["classification", "segmentation"], indirect=True)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shared]:
    root = tmp_path_factory.mktemp("shared")
    return {task: share_tiny(root, task) for task in ("classification", "segmentation")}


@pytest.fixture
def shared(every: dict[str, Shared], request: pytest.FixtureRequest) -> Shared:
    return every[getattr(request, "param", "classification")]


@TASKS
def test_a_shared_folder_predicts_as_the_run(shared: Shared, tmp_path: Path) -> None:
    """Also after it was moved and all that the run had is gone."""
    assert cli.main(["share", str(shared.run), str(tmp_path / "new"), "--with-gfm"]) == 0
    moved = shutil.move(tmp_path / "new", tmp_path / "moved")
    record = read_json(moved / "record.json")
    assert record == read_json(shared.run / "record.json")
    model = deflect.load(moved, device="cpu")
    assert torch.equal(model.predict(shared.images), shared.logits)
    example = load_file(moved / "example.safetensors")
    assert torch.equal(example["images"], shared.images[:1])
    assert torch.equal(example["logits"], model.predict(example["images"]))


def test_the_weights_of_the_gfm_are_found_where_the_run_had_them_or_given(shared: Shared, tmp_path: Path) -> None:
    share(shared.run, tmp_path / "new")
    assert not (tmp_path / "new/gfm.safetensors").exists()
    assert torch.equal(deflect.load(tmp_path / "new", device="cpu").predict(shared.images), shared.logits)
    aside = shared.weights.with_suffix(".aside")
    shared.weights.rename(aside)
    try:
        sha256 = read_json(shared.run / "record.json")["weights"]["sha256"]
        missing = (
            rf"scale_mae \(mini\) with sha256 {sha256} are not in it; ask who shared it .* load\(..., weights=FILE\)"
        )
        with pytest.raises(ModelError, match=missing):
            deflect.load(tmp_path / "new")
        for name, source in (("mine.safetensors", aside), ("mine.json", shared.weights.with_suffix(".json"))):
            shutil.copy(source, tmp_path / name)
        model = deflect.load(tmp_path / "new", weights=tmp_path / "mine.safetensors", device="cpu")
        assert torch.equal(model.predict(shared.images), shared.logits)
    finally:
        aside.rename(shared.weights)


def test_weights_of_timm_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_hub_cache(tmp_path / "hub", "timm/test_vit.r160_in1k", monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    weights = tmp_path / "my_vit.safetensors"
    convert_own("my_vit", OwnGFM(timm="test_vit.r160_in1k", mean=(0.1, 0.2, 0.3)), weights)
    spec = tiny_spec(tmp_path, method="lora", gfm="my_vit", gfm_size="own", weights=weights, epochs=1)
    train(spec)
    share(spec.out, tmp_path / "new")
    images, _ = Store(spec.store).split("test").batch(range(10))
    logits = deflect.load_run(spec.out, device="cpu").predict(images)
    weights.unlink()
    assert torch.equal(deflect.load(tmp_path / "new", device="cpu").predict(images), logits)
    assert len(list((tmp_path / "cache/deflect/gfms").glob("*.safetensors"))) == 1
    in_hub_cache(tmp_path / "empty", "someone/else", monkeypatch)
    assert torch.equal(deflect.load(tmp_path / "new", device="cpu").predict(images), logits)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(DownloadError, match=r"neither in the cache of Hugging Face nor downloaded"):
        deflect.load(tmp_path / "new")


@TASKS
@pytest.mark.parametrize("with_gfm", [True, False])
def test_the_code_of_the_model_card_works(
    shared: Shared, with_gfm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share(shared.run, tmp_path / "my-model", with_gfm=with_gfm)
    text = (tmp_path / "my-model/README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    assert ('weights="FILE"' in text) is not with_gfm
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"images": shared.images}
    exec("".join(blocks).replace("FILE", str(shared.weights)), names)
    assert torch.allclose(names["logits"].cpu(), shared.logits, atol=1e-4)
    assert names["difference"] < 1e-4


@TASKS
def test_the_model_card_agrees_with_the_record(shared: Shared) -> None:
    record = read_json(shared.run / "record.json")
    _, head, text = (shared.folder / "README.md").read_text().split("---\n", 2)
    found = yaml.safe_load(head)
    (result,) = found["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == round(record["score"]["value"], 4)
    assert (found["license"], found["library_name"]) == ("apache-2.0", "deflect")
    assert "simulated-data" in found["tags"]
    assert "**It was trained and tested on simulated images.**" in text
    for split in ("val", "test"):
        assert f"| {split} | " in text
        assert f" | {record['metrics'][split][record['score']['metric']]:.3f} | " in text
    for band in record["images"]["bands"]["bands"]:
        assert f"| {band['name']} | {band['wavelength']:g} |" in text
    for index, name in enumerate(record["classes"]):
        assert f"| {index} | {name} |" in text
    assert f"| tuned of them or added | {record['parameters']['tuned_params']:,} (" in text


@TASKS
def test_the_stac_item_is_valid_and_describes_the_model(shared: Shared) -> None:
    content = json.loads((shared.folder / "model.stac.json").read_text())
    JsonSchemaSTACValidator().validate_core(content, pystac.STACObjectType.ITEM, content["stac_version"])
    item = pystac.Item.from_dict(content)
    model, record = MLMExtension.ext(item), read_json(shared.run / "record.json")
    assert model.input[0].bands == record["bands"] == [band["name"] for band in item.properties["bands"]]
    assert item.properties["bands"][0]["eo:center_wavelength"] == 0.49
    assert [entry.description for entry in model.output[0].classes] == record["classes"]
    assert model.output[0].result.shape[:2] == [-1, 3]
    assert model.hyperparameters.to_dict()["method"] == record["method"]
    for asset in item.assets.values():
        assert (shared.folder / asset.href).is_file()


def test_the_code_of_the_page_works(shared: Shared) -> None:
    (code,) = python_blocks("docs/using.md", "Share a model")
    names: dict[str, Any] = {"images": shared.images}
    exec(code.replace("FOLDER", str(shared.folder)), names)
    assert torch.allclose(names["logits"].cpu(), shared.logits, atol=1e-4)


def test_load_needs_the_core_packages_only(shared: Shared, tmp_path: Path) -> None:
    """Those of the study cannot be imported in this process."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys({STUDY_ONLY!r}))
import deflect
from safetensors.torch import load_file
model = deflect.load({str(shared.folder)!r}, device="cpu")
example = load_file(model.folder / "example.safetensors")
print((model.predict(example["images"]) - example["logits"]).abs().max().item())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


def test_another_folder_is_never_replaced(shared: Shared, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(ConfigError, match=r"mine: has other files \(thesis.tex\), which would be lost; name another"):
        share(shared.run, tmp_path / "mine")
    (tmp_path / "link").symlink_to(shared.folder)
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(ConfigError, match="expected a new folder"):
            share(shared.run, tmp_path / name)
    share(shared.run, tmp_path / "new")
    share(shared.run, tmp_path / "new", with_gfm=True)
    assert (tmp_path / "new/gfm.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "mine", "new"]


def test_a_gfm_whose_licence_is_not_open_is_not_included(shared: Shared, tmp_path: Path) -> None:
    path = shared.weights.with_suffix(".json")
    before = path.read_text()
    write_json(path, read_json(path) | {"licence": "research only"}, seal=True)
    try:
        with pytest.raises(ModelError, match=r"'research only' is none of Apache-2.0, .*; share without --with-gfm"):
            share(shared.run, tmp_path / "new", with_gfm=True)
        assert not list(tmp_path.iterdir())
        share(shared.run, tmp_path / "new")
        text = (tmp_path / "new/README.md").read_text()
        assert "license: other\nlicense_name: research-only" in text
        assert "| research only |" in text
    finally:
        path.write_text(before)


def test_a_non_commercial_licence_of_the_gfm_is_on_the_card(shared: Shared, tmp_path: Path) -> None:
    path = shared.weights.with_suffix(".json")
    before = path.read_text()
    write_json(path, read_json(path) | {"licence": "CC-BY-NC-4.0"}, seal=True)
    try:
        share(shared.run, tmp_path / "new", with_gfm=True)
    finally:
        path.write_text(before)
    text = (tmp_path / "new/README.md").read_text()
    assert "license: cc-by-nc-4.0\n" in text
    assert "**The licence of the GFM (CC-BY-NC-4.0) forbids commercial use**" in text


def test_data_that_may_be_private_are_not_passed_on(tmp_path: Path) -> None:
    """Those of a user's own dataset: the example is random."""
    spec = tiny_spec(tmp_path, "classification", "norm_tuning", epochs=1)
    card = json.loads((spec.store / "store.json").read_text()) | {"simulated": False}
    del card["seal"]
    (spec.store / "store.json").write_text(json.dumps(card))
    train(spec)
    share(spec.out, tmp_path / "new")
    found = load_file(tmp_path / "new/example.safetensors")
    stored = Store(spec.store).split("test").batch(range(10))[0]
    assert not torch.isclose(found["images"], stored).all(dim=(1, 2, 3)).any()
    text = (tmp_path / "new/README.md").read_text()
    assert "random reflectance, not an image" in text
    assert "simulated" not in text
    with pytest.raises(ModelError, match="random weights"):
        share(spec.out, tmp_path / "new", with_gfm=True)
    assert torch.equal(deflect.load(tmp_path / "new", device="cpu").predict(found["images"]), found["logits"])


@pytest.mark.parametrize("method", ["full", "late_fusion", "vpt", "peft:vera"])
def test_every_kind_of_method_can_be_shared(method: str, tmp_path: Path) -> None:
    """`share` itself compares the logits; VeRA has one projection for all layers."""
    shared = share_tiny(tmp_path, "classification", method)
    assert torch.equal(deflect.load(shared.folder, device="cpu").predict(shared.images), shared.logits)
