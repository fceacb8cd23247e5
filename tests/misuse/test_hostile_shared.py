"""Shared folders that lie are refused in one line, quickly and within 1 GB; nothing in them is executed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from shared_models import Shared, share_tiny
from test_hostile_files import within_limits

import deflect
from deflect.files import read_json, sha256_file, write_json

FILES = ("adapter.json", "adapter.safetensors", "head.safetensors")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return share_tiny(tmp_path_factory.mktemp("good"))


@pytest.fixture
def folder(good: Shared, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good.folder, tmp_path / "model"))


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit a JSON file and seal it again, as whoever wants to deceive would."""
    content = read_json(path)
    edit(content)
    write_json(path, content, seal=True)


def agree(folder: Path) -> None:
    """Make all hashes in the folder those of its files."""
    change(folder / "adapter.json", lambda card: card.update(sha256=sha256_file(folder / "adapter.safetensors")))
    hashes = {name: sha256_file(folder / name) for name in FILES}
    change(folder / "record.json", lambda record: record["files"].update(hashes))


def tensors(path: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    content = load_file(path)
    edit(content)
    save_file(content, path)


def first(content: dict[str, torch.Tensor]) -> str:
    return next(name for name, value in content.items() if value.is_floating_point() and value.ndim == 2)


def weights_changed(folder: Path) -> None:
    """The record has the hash of the GFM's weights as they are now."""
    found = sha256_file(folder / "gfm.safetensors")
    change(folder / "gfm.json", lambda card: card["origin"].update(sha256=found))
    change(folder / "record.json", lambda record: record["weights"].update(sha256=found))


def adapter(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        change(folder / "adapter.json", lambda card: card.update(changes))

    return edit


def config(**changes: Any) -> Callable[[Path], None]:
    return lambda folder: change(folder / "adapter.json", lambda card: card["config"].update(changes))


def peft(**options: Any) -> Callable[[Path], None]:
    return adapter(method="peft:lora", config={"bands": "all", "options": options})


def record(edit: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return lambda folder: change(folder / "record.json", edit)


def gfm(**changes: int) -> Callable[[Path], None]:
    return lambda folder: change(folder / "gfm.json", lambda card: card["architecture"].update(changes))


def twice(folder: Path) -> None:
    path = folder / "record.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1,\n  "seed": 0', 1))


def link(name: str, target: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return edit


def pipe(folder: Path) -> None:
    (folder / "head.safetensors").unlink()
    os.mkfifo(folder / "head.safetensors")


def no_gfm(path: str) -> Callable[[Path], None]:
    """A record whose path of the weights points to ``path``, and no weights in the folder."""

    def edit(folder: Path) -> None:
        (folder / "gfm.safetensors").unlink()
        change(folder / "record.json", lambda record: record["paths"].update(weights=path))

    return edit


def pickled(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(pickle.dumps(Payload()))


def endless(name: str) -> Callable[[Path], None]:
    return lambda folder: os.truncate(folder / name, 1 << 40)


def huge_header(folder: Path) -> None:
    """A safetensors file of 400 GB in a sparse file of a few kB."""
    header = json.dumps({"0.weight": {"dtype": "F32", "shape": [10**11], "data_offsets": [0, 4 * 10**11]}}).encode()
    path = folder / "head.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 4 * 10**11)


class Payload:
    """Unpickling it creates the file of ``TRACE``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["TRACE"],)


def nan(name: str) -> Callable[[Path], None]:
    return lambda folder: tensors(folder / name, lambda content: content[first(content)].fill_(float("nan")))


def as_type(name: str, kind: torch.dtype) -> Callable[[Path], None]:
    def edit(content: dict[str, torch.Tensor]) -> None:
        content[first(content)] = content[first(content)].to(kind)

    return lambda folder: tensors(folder / name, edit)


def cut(content: dict[str, torch.Tensor]) -> None:
    content[first(content)] = content[first(content)][:1].clone()


#: What is changed after which all hashes are made to agree again, and what the error says.
DECEIVING: dict[str, tuple[Callable[[Path], object], str]] = {
    "depth": (gfm(depth=10**9), "depth: expected a number up to 256, found 1000000000"),
    "width": (gfm(embed_dim=10**9), "embed_dim: expected a number up to"),
    "download": (
        lambda f: change(f / "gfm.json", lambda card: card.update(timm="hf-hub:me/model")),
        "timm: expected one of its models",
    ),
    "giant of timm": (
        lambda f: change(f / "gfm.json", lambda card: card.update(timm="vit_7b_patch16_dinov3", kind="rotary")),
        "tensor ",
    ),
    "no number": (gfm(depth="4"), "depth: expected a number up to 256, found '4'"),
    "other width": (gfm(embed_dim=128), "safetensors: tensor "),
    "other depth": (gfm(depth=5), "gfm.safetensors: tensor blocks.4.attn.proj.bias: expected one, found none"),
    "image size": (
        record(lambda r: r["settings"]["training"].update(image_size=10**6)),
        "its settings ask for a model of ",
    ),
    "image size beyond any number": (
        record(lambda r: r["settings"]["training"].update(image_size=8 * 10**15)),
        "cannot be described (",
    ),
    "hidden": (config(hidden=10**9), "adapter.safetensors: tensor "),
    "rank": (config(rank=10**9), "adapter.safetensors: tensor "),
    "many classes": (
        record(lambda r: r["images"].update(classes=[str(i) for i in range(10**5)])),
        "head.safetensors: tensor ",
    ),
    "many bands": (
        record(lambda r: r["images"]["bands"].update(bands=r["images"]["bands"]["bands"] * 10**3)),
        "expected at most 1000 bands, found 6000",
    ),
    "segmentation head": (record(lambda r: r["images"].update(task="segmentation")), "head.safetensors: tensor "),
    "gsd": (record(lambda r: r["images"].update(gsd=-1.0)), "gsd must be positive"),
    "pattern": (config(indices=["(([a-z]+)+)+$"]), "config: expected names and numbers, found '(([a-z]+)+)+$'"),
    "peft imports": (peft(megatron_config={"a": 1}, megatron_core="antigravity"), "unknown options megatron_config"),
    "peft pattern": (peft(target_modules="([a-z.]+)+#"), "config: expected names and numbers"),
    "peft rank": (peft(r=10**9), "adapter.safetensors: tensor "),
    "method": (adapter(method="os:system"), "unknown method 'os:system'"),
    "escape codes": (adapter(method="\x1b[2Jlora\n"), "unknown method"),
    "no config": (adapter(config=None), "model"),
    "no statistics": (adapter(statistics=3), "not a model that `deflect share` wrote"),
    "no bands": (adapter(bands=[]), "not a model that `deflect share` wrote"),
    "deep config": (config(indices=[[[[[]]]]]), "indices"),
    "another GFM": (record(lambda r: r.update(gfm="dino_mc")), "expected weights of dino_mc"),
    "GFM with line break": (record(lambda r: r.update(gfm="a\nb")), "unknown GFM"),
    "NaN in the adapter": (nan("adapter.safetensors"), "expected finite numbers, found NaN"),
    "NaN in the head": (nan("head.safetensors"), "expected finite numbers, found NaN"),
    "half the precision": (as_type("head.safetensors", torch.float16), "head.safetensors: tensor "),
    "integers": (as_type("adapter.safetensors", torch.int64), "adapter.safetensors: tensor "),
    "shape": (lambda f: tensors(f / "head.safetensors", cut), "head.safetensors: tensor "),
    "shape of adapter": (lambda f: tensors(f / "adapter.safetensors", cut), "adapter.safetensors: tensor "),
    "missing tensor": (
        lambda f: tensors(f / "head.safetensors", lambda t: t.pop(first(t))),
        "head.safetensors: tensor fc.weight: expected one, found none",
    ),
    "further tensor": (
        lambda f: tensors(f / "adapter.safetensors", lambda t: t.update(x=torch.zeros(9))),
        "adapter.safetensors: tensor x: expected none",
    ),
    "pickle for the head": (pickled("head.safetensors"), "head.safetensors: damaged or no safetensors file"),
    "pickle for the adapter": (pickled("adapter.safetensors"), "adapter.safetensors: damaged or no safetensors file"),
    "no images": (record(lambda r: r.pop("images")), "images"),
    "wrong images": (record(lambda r: r.update(images={"bands": 3})), "not a model that `deflect share` wrote"),
    "settings of another version": (record(lambda r: r["settings"]["training"].update(momentum=1)), "momentum"),
    "random weights at a path": (
        record(lambda r: (r["weights"].update(sha256=None), r["paths"].update(weights="/proc/kcore"))),
        "belongs to scale_mae with weights",
    ),
}
#: What is changed and not covered up.
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "NaN in the GFM": (lambda f: (nan("gfm.safetensors")(f), weights_changed(f)), "belongs to scale_mae with weights"),
    "other GFM weights": (nan("gfm.safetensors"), "trained on other weights"),
    "pickle for the GFM": (pickled("gfm.safetensors"), "gfm.safetensors: damaged or no safetensors file"),
    "head of another run": (
        lambda f: tensors(f / "head.safetensors", lambda t: t[first(t)].add_(1)),
        "head.safetensors: changed since the run wrote it",
    ),
    "adapter of another run": (
        lambda f: tensors(f / "adapter.safetensors", lambda t: t[first(t)].add_(1)),
        "adapter.safetensors: changed since the run wrote it",
    ),
    "broken seal": (
        lambda f: (f / "record.json").write_text((f / "record.json").read_text().replace('"seed": 0', '"seed": 7')),
        "record.json: changed since it was written",
    ),
    "key twice": (twice, "record.json: not valid JSON (key 'seed' is given twice)"),
    "not UTF-8": (lambda f: (f / "adapter.json").write_bytes(b'{"a": "\xff"}'), "adapter.json: expected text in UTF-8"),
    "a list": (lambda f: (f / "adapter.json").write_text("[]"), "not a model that `deflect share` wrote"),
    "nested": (lambda f: (f / "adapter.json").write_text("[" * 10**5), "adapter.json: not valid JSON"),
    "endless record": (endless("record.json"), "record.json: expected at most"),
    "endless adapter card": (endless("adapter.json"), "adapter.json: expected at most"),
    "endless GFM card": (endless("gfm.json"), "gfm.json: expected at most"),
    "endless adapter": (endless("adapter.safetensors"), "adapter.safetensors: damaged"),
    "endless GFM": (endless("gfm.safetensors"), "gfm.safetensors: damaged"),
    "huge header": (huge_header, "head.safetensors: tensor 0.weight: expected none"),
    "link to a device": (link("head.safetensors", "/dev/zero"), "head.safetensors: a link out of the folder"),
    "link to a file": (link("record.json", "/etc/passwd"), "record.json: a link out of the folder"),
    "link upwards": (link("gfm.json", "../../gfm.json"), "gfm.json: a link out of the folder"),
    "pipe": (pipe, "head.safetensors: expected a file, found a pipe"),
    "missing": (lambda f: (f / "head.safetensors").unlink(), "head.safetensors: missing; expected a folder that"),
    "missing card of the GFM": (lambda f: (f / "gfm.json").unlink(), "gfm.json: missing; expected a folder that"),
    "weights elsewhere": (no_gfm("/proc/kcore"), "are not in it; ask who shared it"),
    "weights at a device": (no_gfm("/dev/zero"), "are not in it; ask who shared it"),
    "weights upwards": (no_gfm("../../../etc/passwd"), "are not in it; ask who shared it"),
}


@pytest.mark.parametrize("name", [*DECEIVING, *DAMAGED])
def test_a_hostile_folder_is_refused_quickly_and_in_little_memory(
    folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACE", str(tmp_path / "executed"))
    edit, expected = (DECEIVING | DAMAGED)[name]
    edit(folder)
    if name in DECEIVING:
        agree(folder)
    message = within_limits(deflect.load, folder, None, "cpu")
    assert message.startswith("refused: ")
    assert expected in message
    assert message.isprintable()
    assert not (tmp_path / "executed").exists()


def test_other_files_in_the_folder_are_not_opened(
    good: Shared, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickles, code, a pipe and a page that says otherwise."""
    monkeypatch.setenv("TRACE", str(tmp_path / "executed"))
    for name in ("model.bin", "adapter.pt", "checkpoint.pt", "example.safetensors"):
        pickled(name)(folder)
    for name in ("deflect.py", "conftest.py", "__init__.py"):
        (folder / name).write_text(f"import os; os.mkdir({str(tmp_path / 'executed')!r})")
    (folder / "README.md").write_text("---\nlibrary_name: !!python/object/apply:os.system [ls]\n---\n")
    (folder / "model.stac.json").unlink()
    os.mkfifo(folder / "model.stac.json")
    monkeypatch.chdir(folder)
    assert torch.equal(deflect.load(folder, device="cpu").predict(good.images), good.logits)
    assert not (tmp_path / "executed").exists()


def test_the_cases_start_from_a_folder_that_loads(good: Shared, folder: Path) -> None:
    agree(folder)
    assert torch.equal(deflect.load(folder, device="cpu").predict(good.images), good.logits)
