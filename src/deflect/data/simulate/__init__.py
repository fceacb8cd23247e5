"""Mini datasets of SIMULATED images in the published on-disk formats, so that every step runs on every machine.

Numbers measured on these images are never results about the paper. ``SIMULATED.json`` in each folder says so, and how
the folder was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.random import Generator, default_rng

from deflect.bands import SENTINEL2
from deflect.data.simulate import bigearthnet, brick_kiln, burn_scars, forestnet, geobench, mados, signals, so2sat
from deflect.data.simulate.canvas import Canvas
from deflect.data.simulate.signals import Design
from deflect.errors import ConfigError
from deflect.files import atomic_path, write_json
from deflect.settings import PAPER_DATASETS, SPLITS
from deflect.settings.simulation import SimulationSize

_GEOBENCH = {"so2sat": so2sat, "brick_kiln": brick_kiln, "forestnet": forestnet, "bigearthnet": bigearthnet}
_DATASETS: dict[str, Any] = _GEOBENCH | {"burn_scars": burn_scars, "mados": mados}

#: The file that distinguishes a simulated folder from a download.
MARKER = "SIMULATED.json"


def simulate(dataset: str, folder: Path, size: SimulationSize, seed: int) -> None:
    """Write a simulated ``dataset`` into ``folder``, atomically. Equal arguments give equal bytes.

    Raises:
        ConfigError: unknown dataset, a size that its format does not allow, or ``folder`` has other data.
    """
    if dataset not in _DATASETS:
        raise ConfigError(f"unknown dataset {dataset!r}; can simulate {', '.join(_DATASETS)}")
    pixels = size.pixels or _DATASETS[dataset].PIXELS
    if dataset == "mados" and pixels % 6:
        raise ConfigError(f"mados: 10, 20 and 60 m bands need pixels divisible by 6, found {pixels}; take 66 or 72")
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARKER).is_file():
        raise ConfigError(f"{folder}: holds data that was not simulated; choose another folder or empty this one")
    with atomic_path(folder) as aside:
        aside.mkdir()
        if dataset in _GEOBENCH:
            geobench.write(aside, _samples(dataset, size, pixels, seed), _GEOBENCH[dataset], pixels)
        elif dataset == "burn_scars":
            _write_burn_scars(aside, size, pixels, seed)
        else:
            _write_mados(aside, size, pixels, seed)
        note = "Simulated images: for running and testing the software, never for results about the paper."
        write_json(aside / MARKER, {"dataset": dataset, "seed": seed, "size": size.model_dump(), "note": note})


def chance(seed: int, *where: str | int) -> Generator:
    """The random numbers of one sample. They do not depend on the number of samples."""
    return default_rng([seed, *(crc32(w.encode()) if isinstance(w, str) else w for w in where)])


def _samples(dataset: str, size: SimulationSize, pixels: int, seed: int) -> Iterator[tuple[str, geobench.Sample]]:
    """Splits and samples of a dataset of GEO-Bench."""
    places = [(split, index) for split in SPLITS for index in range(getattr(size, split))]
    for order, (split, index) in enumerate(places):
        rng = chance(seed, dataset, split, index)
        yield split, _GEOBENCH[dataset].sample(rng, index, order, pixels)


def _write_burn_scars(folder: Path, size: SimulationSize, pixels: int, seed: int) -> None:
    for part, count in (("training", size.train + size.val), ("validation", size.test)):
        (folder / part).mkdir()
        for index in range(count):
            burn_scars.write(folder / part, chance(seed, "burn_scars", part, index), index, pixels)


def _write_mados(folder: Path, size: SimulationSize, pixels: int, seed: int) -> None:
    root = folder / "MADOS"
    (root / "splits").mkdir(parents=True)
    scene = 0
    for split in SPLITS:
        lines = []
        for index in range(getattr(size, split)):
            place, crop = divmod(index, mados.CROPS_PER_SCENE)
            rng = chance(seed, "mados", split, index)
            lines.append(mados.write(root, scene + place, crop + 1, rng, index, pixels))
        (root / "splits" / f"{split}_X.txt").write_text("\n".join(lines) + "\n")
        scene += -(-len(lines) // mados.CROPS_PER_SCENE)  # no scene is shared between splits


def simulate_rgb(path: Path, n: int, pixels: int, seed: int) -> None:
    """Write ``n`` unlabelled scenes, of the paper's datasets in turn: (n, 3, H, W) float32 reflectance of R, G, B."""
    images = np.stack([_rgb_scene(chance(seed, "rgb", index), index, pixels) for index in range(n)])
    with atomic_path(Path(path)) as aside, open(aside, "wb") as file:
        np.save(file, images)


def _rgb_scene(rng: Generator, index: int, size: int) -> np.ndarray:
    dataset = PAPER_DATASETS[index % len(PAPER_DATASETS)]
    canvas = Canvas(SENTINEL2.subset(["B04", "B03", "B02"]), size, rng)
    _DATASETS[dataset].paint(canvas)
    canvas.observe(10, light=(0.6, 1.2), relief=0.06, haze=(0.0, 0.08))
    canvas.image *= signals.gain(rng, canvas.bands, size, Design(()))
    return np.clip(canvas.image, 0, None)
