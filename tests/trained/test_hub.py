"""Models on a hub: pushed, loaded at a revision, loaded again without network; errors say what to do.

The hub is a server of this test, reached as the Hugging Face Hub is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hub_server import TOKEN, HubServer, serve_hub
from shared_models import Shared, share_tiny

from deflect.trained.shared import NAMES

pytestmark = pytest.mark.slow

PUSH = """
import json, os, sys
from deflect.errors import DownloadError
from deflect.trained.share import share

run, folder = sys.argv[1:]
found = {"address": share(run, folder, "me/model", with_gfm=True)}
found["again"] = share(run, folder, "me/model")
for name, token in (("wrong token", "hf_wrong"), ("no token", None)):
    os.environ.pop("HF_TOKEN")
    if token:
        os.environ["HF_TOKEN"] = token
    try:
        share(run, folder, "me/model")
    except DownloadError as error:
        found[name] = str(error)
    os.environ.setdefault("HF_TOKEN", "")
print(json.dumps(found))
"""
LOAD = """
import json, sys
import numpy, torch, deflect
from huggingface_hub import constants

def refused(address):
    try:
        deflect.load(address)
    except deflect.errors.DeflectError as error:
        return str(error)

folder, revision = sys.argv[1:]
images, logits = (torch.from_numpy(numpy.load(f"{folder}/{name}.npy")) for name in ("images", "logits"))
found = {"newest": refused("hf:me/model"), "missing": refused("hf:me/other"), "wrong": refused("hf:model")}
for name in ("online", "offline"):
    constants.HF_HUB_OFFLINE = name == "offline"
    model = deflect.load(f"hf:me/model@{revision}", device="cpu")
    found[name] = [torch.equal(model.predict(images), logits), sorted(path.name for path in model.folder.iterdir())]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return share_tiny(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with serve_hub() as server:
        yield server


def run(code: str, hub: HubServer, home: Path, *arguments: object) -> dict:
    """What ``code`` prints as JSON in a process whose hub is ``hub``."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    environment |= {"HF_ENDPOINT": hub.address, "HF_HOME": str(home), "HF_TOKEN": TOKEN}
    environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pushed(shared: Shared, hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("pushed")
    return run(PUSH, hub, home / "home", shared.run, home / "new")


def test_push_uploads_the_files_of_the_folder_and_no_others(
    shared: Shared, hub: HubServer, pushed: dict[str, str]
) -> None:
    assert pushed["address"] == pushed["again"] == "hf:me/model"
    first, second = hub.commits["me/model"]
    assert sorted(first) == sorted(NAMES)
    assert set(first) - set(second) == {"gfm.safetensors", "gfm.json"}  # the second was shared without them
    assert first["adapter.safetensors"] == (shared.run / "adapter.safetensors").read_bytes()
    assert b'deflect.load("hf:me/model")' in first["README.md"]


@pytest.mark.parametrize("name", ["wrong token", "no token"])
def test_a_refused_push_is_one_line_with_the_command(pushed: dict[str, str], name: str) -> None:
    assert "\n" not in pushed[name]
    assert "new is complete; upload it with `hf upload me/model " in pushed[name]
    assert ("no token of the Hugging Face Hub" in pushed[name]) is (name == "no token")


def test_a_model_of_the_hub_predicts_as_the_run(
    shared: Shared, hub: HubServer, pushed: dict[str, str], tmp_path: Path
) -> None:
    """Only files with the names that `share` writes are downloaded; a cached revision needs no network."""
    np.save(tmp_path / "images.npy", shared.images.numpy())
    np.save(tmp_path / "logits.npy", shared.logits.numpy())
    hub.commits["me/model"][0] |= {"model.bin": b"pickle", "code/head.safetensors": b"", "modeling.py": b"import os"}
    (aside := shared.weights.with_suffix(".aside")).unlink(missing_ok=True)
    shared.weights.rename(aside)
    try:
        found = run(LOAD, hub, tmp_path / "home", tmp_path, hub.revision("me/model", 0))
    finally:
        aside.rename(shared.weights)
    assert found["online"] == found["offline"] == [True, sorted(NAMES)]
    assert "the weights of the GFM scale_mae (mini) with sha256" in found["newest"]
    assert found["missing"].startswith("hf:me/other: cannot be downloaded (")
    assert "check name, revision and network" in found["missing"]
    assert found["wrong"].startswith("'model': expected USER/NAME")
    assert not [line for line in hub.log if "model.bin" in line or "modeling.py" in line or "code/" in line]
