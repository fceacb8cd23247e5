"""Read the mini study's simulated files with the ``geobench`` package and compare them with the project's reader.

    make geobench-check

The package pins an old timm and pandas, so it has a separate environment. Pixels, band names, labels, splits and the
order of samples must be equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
BENCHMARK = "classification_v1.0"
SPLITS = {"train": "train", "val": "valid", "test": "test"}


def read_with_geobench(out: Path) -> None:
    """Read every sample below ``GEO_BENCH_DIR``; runs in the environment of ``geobench``."""
    import geobench

    facts: dict[str, Any] = {}
    for task in geobench.task_iterator(benchmark_name=BENCHMARK):
        names = [band.name for band in task.bands_info]
        kinds = sorted({type(band).__name__ for band in task.bands_info})
        facts[task.dataset_name] = {"bands": names, "kinds": kinds, "text": str(task)}
        for split in SPLITS.values():
            samples = list(task.get_dataset(split=split, band_names=names))
            images = [sample.pack_to_3d(band_names=names)[0].transpose(2, 0, 1) for sample in samples]
            np.save(out / f"{task.dataset_name}.{split}.npy", np.stack(images))
            facts[task.dataset_name][split] = [(each.sample_name, np.asarray(each.label).tolist()) for each in samples]
            rgb = [next(k for k, name in enumerate(names) if name.endswith(f"- {c}")) for c in ("Red", "Green", "Blue")]
            named, _ = samples[0].pack_to_3d(band_names=["red", "green", "blue"])  # the names of geobench's examples
            np.testing.assert_array_equal(named.transpose(2, 0, 1), images[0][rgb])
    (out / "facts.json").write_text(json.dumps(facts))


def main(python: str) -> None:
    from deflect import config
    from deflect.data.readers import read
    from deflect.data.simulate import SimulationSize, bigearthnet, brick_kiln, forestnet, simulate, so2sat

    settings = config.load(ROOT / "config.yaml", "mini").study.simulation
    with tempfile.TemporaryDirectory() as folder:
        raw, out = Path(folder, BENCHMARK), Path(folder, "out")
        out.mkdir()
        datasets = {"so2sat": so2sat, "brick_kiln": brick_kiln, "forestnet": forestnet, "bigearthnet": bigearthnet}
        for name, module in datasets.items():
            simulate(name, raw / module.NAME, SimulationSize(**settings["sizes"][name]), settings["seed"])
        command = [python, __file__, str(out)]
        subprocess.run(command, check=True, env=os.environ | {"GEO_BENCH_DIR": folder, "PYTHONPATH": ""})
        facts = json.loads((out / "facts.json").read_text())
        for name, module in datasets.items():
            theirs, samples = facts[module.NAME], 0
            for split, called in SPLITS.items():
                ours = read(name, raw / module.NAME, split)
                images = np.load(out / f"{module.NAME}.{called}.npy", mmap_mode="r")
                channels = [theirs["bands"].index(stored) for stored in ours.sheet.stored_names]
                assert [sample for sample, _ in theirs[called]] == ours.ids
                for index, (sample, label) in enumerate(theirs[called]):
                    image, own_label = ours.load(index)
                    np.testing.assert_array_equal(images[index][channels].astype(image.dtype), image, sample)
                    assert label == np.asarray(own_label).tolist(), sample
                samples += len(ours)
            kinds = " and ".join(theirs["kinds"])
            print(f"{module.NAME}: {samples} samples, {len(theirs['bands'])} bands ({kinds}) read by geobench; equal")


if __name__ == "__main__":
    argument = sys.argv[1]
    if Path(argument).is_dir():
        read_with_geobench(Path(argument))
    else:
        main(argument)
