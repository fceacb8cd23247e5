"""Errors of weight files that look right and are not."""

from __future__ import annotations

import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_layouts import dino, scale_mae_torchgeo, source
from paths import ROOT

import deflect.gfms.card as cards
from deflect import cli
from deflect.config import load
from deflect.errors import DownloadError, ModelError
from deflect.files import write_json
from deflect.gfms import build, card_of, gfm_card, load_gfm
from deflect.gfms.checkpoint import read_checkpoint
from deflect.gfms.convert import convert, save_weights
from deflect.gfms.fetch import fetch
from deflect.gfms.verify import verify
from deflect.gfms.vit import sincos_positions


def write_config(folder: Path, extra: str = "") -> None:
    text = (ROOT / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("    gfm_size: full", "    gfm_size: full" + extra))


@pytest.mark.parametrize("numpy_module", [b"numpy._core", b"numpy.core"])
def test_dino_checkpoint_with_numpy_numbers_in_the_optimizer_state(tmp_path: Path, numpy_module: bytes) -> None:
    """DINO sets lr and weight decay from a NumPy schedule, so that they are NumPy scalars in the file."""
    model = source("dino_mc")
    optimiser = torch.optim.AdamW(model.parameters())
    optimiser.param_groups[0] |= {"lr": np.linspace(0, 1, 3)[1], "weight_decay": np.linspace(0, 1, 3)[1]}
    model(torch.randn(1, 3, 64, 64)).sum().backward()
    optimiser.step()
    content = dino("")(dict(model.state_dict())) | {"optimizer": optimiser.state_dict()}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    raw = (tmp_path / "a.pth").read_bytes()
    assert b"numpy._core.multiarray" in raw
    (tmp_path / "a.pth").write_bytes(raw.replace(b"numpy._core.multiarray", numpy_module + b".multiarray"))
    assert convert("dino_mc", tmp_path / "a.pth", tmp_path / "o.safetensors").name == "dino_mc"
    assert read_checkpoint(tmp_path / "a.pth")["optimizer"]["param_groups"][0]["lr"] == 0.5


@pytest.mark.parametrize("module", [b"pathlib", b"pathlib._local"])
def test_paths_in_args_of_any_python_version(tmp_path: Path, module: bytes) -> None:
    content = {"model": {}, "args": Namespace(output_dir=Path("/somewhere"))}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    raw, found = re.subn(rb"cpathlib(\._local)?\n", b"c" + module + b"\n", (tmp_path / "a.pth").read_bytes())
    assert found == 1
    (tmp_path / "a.pth").write_bytes(raw)
    assert read_checkpoint(tmp_path / "a.pth")["args"].output_dir == Path("/somewhere")


def test_a_wrong_crc_is_an_error(tmp_path: Path) -> None:
    torch.save(dino("")(dict(source("dino_mc").state_dict())), tmp_path / "a.pth")
    raw = bytearray((tmp_path / "a.pth").read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 512] = bytes(512)
    (tmp_path / "a.pth").write_bytes(raw)
    with pytest.raises(ModelError, match="damaged"):
        convert("dino_mc", tmp_path / "a.pth", tmp_path / "o.safetensors")


@pytest.mark.parametrize("block", range(4))
@pytest.mark.parametrize("name", ["scale_mae", "dino_mc", "cross_scale_mae"])
def test_verify_detects_one_untrained_block(name: str, block: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, weights = source(name), tmp_path / "w.safetensors"
    if name == "dino_mc":
        model.pos_embed.data = sincos_positions((8, 8), 64)
    save_weights(model.state_dict(), card_of(model), weights, {})
    verify(name, weights)
    model.blocks[block].load_state_dict(build(card_of(model)).blocks[block].state_dict())
    save_weights(model.state_dict(), card_of(model), weights, {})
    with pytest.raises(ModelError, match="as initialised"):
        verify(name, weights)


@pytest.mark.parametrize("name", ["scale_mae", "cross_scale_mae"])
def test_verify_checks_the_positions_in_the_file(name: str, tmp_path: Path) -> None:
    model, weights = source(name), tmp_path / "w.safetensors"
    model.pos_embed.data = model.pos_embed.flip(1)
    save_weights(model.state_dict(), card_of(model), weights, {})
    with pytest.raises(ModelError, match="positions is"):
        verify(name, weights)


def test_weights_of_another_size_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    folder = tmp_path / "weights/downloads/scale_mae"
    folder.mkdir(parents=True)
    torch.save(scale_mae_torchgeo(dict(source("scale_mae").state_dict())), folder / "scale_mae.pth")
    write_json(folder / "fetched.json", {"checkpoint": "scale_mae.pth"})
    assert cli.main(["--study", "paper", "gfm", "convert", "scale_mae"]) == 2
    assert "size full expected" in capsys.readouterr().err


def test_a_checkpoint_changed_after_fetching_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_config(tmp_path)
    small = replace(gfm_card("scale_mae", "mini"), size="full", sources=gfm_card("scale_mae").sources[1:])
    monkeypatch.setitem(cards.CARDS, ("scale_mae", "full"), small)
    monkeypatch.delitem(cards.CARDS, ("scale_mae", "mini"))
    folder = tmp_path / "weights/downloads/scale_mae"
    folder.mkdir(parents=True)
    file = folder / "scalemae-vitlarge-800.pth"
    model = build(gfm_card("scale_mae"))
    torch.save(dict(model.state_dict()), file)
    assert cli.main(["--study", "paper", "gfm", "fetch", "scale_mae"]) == 0
    assert cli.main(["--study", "paper", "gfm", "convert", "scale_mae"]) == 0
    torch.save({k: v + 1 for k, v in model.state_dict().items()}, file)
    assert cli.main(["--study", "paper", "gfm", "convert", "scale_mae"]) == 2
    assert "when it was fetched" in capsys.readouterr().err


def test_error_of_a_wrong_first_download_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "dino_mc.pth").write_bytes(b"half a file")
    fetch("dino_mc", tmp_path)
    (tmp_path / "dino_mc.pth").write_bytes(b"the right file")
    with pytest.raises(DownloadError, match="delete its entry"):
        fetch("dino_mc", tmp_path)


@pytest.mark.parametrize("junk", [b"hello world\n", b"\x80", b"\x80\x02.", b""])
def test_error_of_a_file_that_is_not_a_checkpoint_is_one_line(junk: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(junk)
    with pytest.raises(ModelError, match="damaged or no torch checkpoint"):
        read_checkpoint(tmp_path / "a.pth")


def test_error_of_a_damaged_safetensors_file_is_one_line(tmp_path: Path) -> None:
    model, weights = source("dino_mc"), tmp_path / "w.safetensors"
    save_weights(model.state_dict(), card_of(model), weights, {})
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match="damaged"):
        load_gfm("dino_mc", weights, size="mini", img_size=64)
    with pytest.raises(ModelError, match="its card says"):
        verify("dino_mc", weights)


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_quantised_and_complex_weights_are_an_error(kind: torch.dtype, tmp_path: Path) -> None:
    torch.save({k: (v * 100).to(kind) for k, v in source("scale_mae").state_dict().items()}, tmp_path / "a.pth")
    with pytest.raises(ModelError, match="no tensors"):
        convert("scale_mae", tmp_path / "a.pth", tmp_path / "o.safetensors")


def test_size_of_a_published_variant_is_used_by_the_run(tmp_path: Path) -> None:
    """The large Cross-Scale MAE is named in the configuration; its weights are of that size, and no other's pass."""
    write_config(tmp_path, "\n    weights: {cross_scale_mae: large}")
    study = load(tmp_path / "config.yaml", "paper").study
    assert [study.size_of(name) for name in study.gfms] == ["full", "full", "large"]
    assert load(tmp_path / "config.yaml", "mini").study.size_of("cross_scale_mae") == "mini"

    small = replace(gfm_card("cross_scale_mae", "large"), architecture=gfm_card("dino_mc", "mini").architecture)
    save_weights(build(small).state_dict(), small, tmp_path / "w.safetensors", {})
    assert card_of(load_gfm("cross_scale_mae", tmp_path / "w.safetensors", size="large", img_size=64)).size == "large"
    save_weights(build(small).state_dict(), replace(small, size="full"), tmp_path / "w.safetensors", {})
    with pytest.raises(ModelError, match=r"expected weights of cross_scale_mae \(large\), found .* \(full"):
        load_gfm("cross_scale_mae", tmp_path / "w.safetensors", size="large", img_size=64)
