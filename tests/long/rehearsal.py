"""Fetch, verify and prepare datasets of the published sizes, and start to train on them.

    make rehearsal ARGUMENTS="FOLDER [--datasets so2sat burn_scars] [--share 1.0]"

Simulated files, as many and as large as published (or a ``--share`` of them), are packed as published and served on the
loopback interface. A run of Scale-MAE with random weights makes its first step. Prints the seconds of each command, the
longest time without output, and the disk use compared with what the catalog states. Takes half an hour and 25 GB.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import yaml
from paths import ROOT

ARCHIVES = {"so2sat": "m-so2sat.zip", "burn_scars": "hls_burn_scars.tar.gz"}
PORT = "REHEARSAL_PORT"
#: Runs ``deflect`` with downloads from the loopback server.
CHILD = "import sys, rehearsal; sys.exit(rehearsal.command(sys.argv[1:]))"


def command(arguments: list[str]) -> int:
    """``deflect`` with sources on the loopback server; training ends after its first step."""
    from deflect import cli
    from deflect.data import catalog
    from deflect.data.fetch import dataset, status

    def sheet(name: str) -> catalog.DatasetSheet:
        found = catalog.dataset_sheet(name)
        archive = Path(os.environ["REHEARSAL_FOLDER"], "server", ARCHIVES.get(name, "none"))
        if not archive.exists():
            return found
        facts = {"archive_url": "", "sha256": "", "md5": "", "bytes": archive.stat().st_size}
        url = f"http://127.0.0.1:{os.environ[PORT]}/{archive.name}"
        return replace(found, source=replace(found.source, name=archive.name, url=url, **facts))

    dataset.dataset_sheet = status.dataset_sheet = sheet
    if arguments[0] == "train":
        end_with_the_first_step()
    return cli.main(arguments)


def end_with_the_first_step() -> None:
    from deflect.training import loop

    step = loop.batch_loss

    def first_step(*parts: object) -> object:
        step(*parts).backward()  # type: ignore[arg-type]
        print("first step done", file=sys.stderr, flush=True)
        os._exit(0)

    loop.batch_loss = first_step  # type: ignore[assignment]


def simulate_published(folder: Path, dataset: str, share: float) -> None:
    """Write a dataset, packed as published, to ``folder/server``."""
    from deflect.data.catalog import DATASETS
    from deflect.data.readers.burn_scars import SHARE
    from deflect.data.simulate import simulate
    from deflect.settings.simulation import SimulationSize

    splits = {split: max(4, round(share * n)) for split, n in DATASETS[dataset].splits.items()}
    if dataset == "burn_scars":  # its reader takes this share of the training folder for validation
        splits["val"] = -(-round((splits["train"] + splits["val"]) * SHARE * 10) // 10)
    raw = folder / "raw" / dataset
    simulate(dataset, raw, SimulationSize(**splits), seed=0)
    (raw / "SIMULATED.json").unlink()
    (folder / "server").mkdir(exist_ok=True)
    archive = folder / "server" / ARCHIVES[dataset]
    pack = ["zip", "-q", "-r", "-1"] if archive.suffix == ".zip" else ["tar", "-c", "-I", "gzip -1", "-f"]
    subprocess.run([*pack, str(archive), dataset], cwd=folder / "raw", check=True)
    shutil.rmtree(raw)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def timed(project: Path, port: int, *arguments: str) -> None:
    """Run a command; print its seconds and the longest time without output."""
    environment = os.environ | {PORT: str(port), "REHEARSAL_FOLDER": str(project.parent)}
    environment["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in ("src", "tests/long", "tests/helpers"))
    command = [sys.executable, "-u", "-c", CHILD, *arguments]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    times, lines = [time.monotonic()], []
    with subprocess.Popen(command, cwd=project, env=environment, **output) as process:
        for line in process.stdout:
            times.append(time.monotonic())
            lines.append(line.rstrip())
    times.append(time.monotonic())
    seconds, silence = times[-1] - times[0], max(b - a for a, b in pairwise(times))
    print(f"deflect {' '.join(arguments)}: {seconds:.1f} s, longest silence {silence:.1f} s, exit {process.returncode}")
    for line in lines[:1] + lines[-1:] if process.returncode == 0 else lines[-5:]:
        print(f"    {line[:160]}")


def size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def stated_sizes(datasets: list[str]) -> dict[str, int]:
    """Bytes that the catalog states, by folder. Simulated archives are larger, because noise compresses badly."""
    from deflect.data.catalog import DATASETS
    from deflect.training.needs import store_bytes

    sources = [DATASETS[name].source for name in datasets]
    return {
        "data/raw/archives": sum(source.bytes or 0 for source in sources),
        "data/raw": sum(source.unpacked_bytes or 0 for source in sources),
        "data/prepared": sum(store_bytes(DATASETS[name]) for name in datasets),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a folder with 25 GB of free space")
    parser.add_argument("--datasets", nargs="+", choices=ARCHIVES, default=list(ARCHIVES))
    parser.add_argument("--share", type=float, default=1.0)
    args = parser.parse_args()
    import torch

    from deflect.gfms import build, card_of, gfm_card
    from deflect.gfms.convert import save_weights

    folder, project = args.folder.absolute(), args.folder.absolute() / "project"
    project.mkdir(parents=True)
    for dataset in args.datasets:
        simulate_published(folder, dataset, args.share)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    study = config["studies"]["paper"] | {"datasets": args.datasets, "unchecked": args.datasets, "gfms": ["scale_mae"]}
    study["variants"] = study["variants"] | {"datasets": args.datasets}
    (project / "config.yaml").write_text(yaml.safe_dump({"study": "paper", "studies": {"paper": study}}))
    torch.manual_seed(0)
    gfm = build(gfm_card("scale_mae"))
    save_weights(gfm.state_dict(), card_of(gfm), project / "weights/paper/scale_mae.safetensors", {})
    del gfm

    with serving(folder / "server") as port:
        for dataset in args.datasets:
            timed(project, port, "data", "fetch", dataset)
        timed(project, port, "data", "status")
        for step in ("verify", "prepare", "prepare"):
            for dataset in args.datasets:
                timed(project, port, "data", step, dataset)
        archives = size(project / "data/raw/archives")
        for place, stated in stated_sizes(args.datasets).items():
            found = size(project / place) - (archives if place == "data/raw" else 0)
            print(f"{place}: {args.share * stated / 1e9:.2f} GB stated, {found / 1e9:.2f} GB on disk", flush=True)
        for method in ("bitfit", "bitfit", "deflect"):  # the second time, hashes are cached
            for dataset in args.datasets:
                timed(project, port, "train", "--dataset", dataset, "--method", method, "--seed", "0")


if __name__ == "__main__":
    main()
