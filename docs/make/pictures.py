"""Refresh docs/pictures/ from finished studies mini and, for few labels, mini_evidence: ``make pictures``."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
#: Height in pixels of the window's bars, which stay empty in a screenshot of Chromium.
FRAME = 143
PICTURES = ROOT / "docs/pictures"
sys.path.insert(0, str(ROOT / "tests/helpers"))


def realism() -> None:
    """Simulated and real Sentinel-2 data: band means, correlations and index ranges. Needs the real samples."""
    import matplotlib.pyplot as plt
    from band_summary import summarise
    from real_imagery import REAL, bigearthnet, eurosat

    from deflect.data.store import Store

    if not REAL.is_dir():
        print(f"no real imagery in {REAL}: docs/pictures/simulation.png is not changed")
        return
    sources = {"real: EuroSAT (L1C)": eurosat(), "real: BigEarthNet (L2A)": bigearthnet()}
    for name, title in (("so2sat", "simulated: So2Sat"), ("brick_kiln", "simulated: Brick Kiln")):
        split = Store(ROOT / f"data/prepared/mini/{name}").split("train")
        sources[title] = np.asarray(split.images) * split.card.scale, split.card.bands
    bandsets = [bands.names for _, bands in sources.values()]
    shared = [name for name in bandsets[2] if all(name in names for names in bandsets)]  # in So2Sat's order
    summaries = {
        title: summarise(images[:, [bands.channel(n) for n in shared]], bands.subset(shared))
        for title, (images, bands) in sources.items()
    }
    colours = ["#000000", "#777777", "#0072B2", "#D55E00"]
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.4), layout="constrained")
    for (title, summary), colour in zip(summaries.items(), colours, strict=True):
        style = "-" if title.startswith("real") else "--"
        axes[0, 0].plot(shared, summary.mean, style, marker="o", ms=4, color=colour, label=title)
        for row, values in enumerate(summary.indices.values()):
            y = row + (list(summaries).index(title) - 1.5) * 0.17
            axes[0, 1].plot(values[[0, 4]], [y, y], color=colour, lw=1.2)
            axes[0, 1].plot(values[[1, 3]], [y, y], color=colour, lw=3.5)
            axes[0, 1].plot(values[2], y, "o", color=colour, ms=4)
    axes[0, 0].set(title="Mean reflectance of each band", ylabel="reflectance", ylim=(0, None))
    names = list(next(iter(summaries.values())).indices)
    axes[0, 1].set(title="Spectral indices: median, quartiles, 2-98 %", yticks=range(len(names)), yticklabels=names)
    axes[0, 1].invert_yaxis()
    panels = [axes[0, 2], *axes[1]]
    for axis, (title, summary) in zip(panels, summaries.items(), strict=True):
        image = axis.imshow(summary.correlation, vmin=-0.5, vmax=1, cmap="cividis")
        axis.set_title(f"Band correlation, {title}", fontsize=9)
        axis.set_xticks(range(len(shared)), shared, rotation=90, fontsize=7)
        axis.set_yticks(range(len(shared)), shared, fontsize=7)
    figure.colorbar(image, ax=panels, shrink=0.6)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.savefig(PICTURES / "simulation.png", dpi=110, metadata={"Software": None})


def screenshots() -> None:
    """The report, the summary and the page of all runs in a browser. Needs Chromium."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        print("no Chromium: docs/pictures/report.png, summary.png and explore.png are not changed")
        return
    for page, (width, height) in {"report": (1280, 880), "summary": (1000, 1900), "explore": (1100, 1500)}.items():
        picture, address = PICTURES / f"{page}.png", (ROOT / f"results/mini/{page}.html").as_uri()
        with tempfile.TemporaryDirectory() as profile:
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
            options += [f"--window-size={width},{height + FRAME}", "--virtual-time-budget=20000"]
            subprocess.run([browser, *options, f"--screenshot={picture}", address], check=True, capture_output=True)
        Image.open(picture).crop((0, 0, width, height)).save(picture)


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    for path in sorted((ROOT / "results/mini/figures").glob("*.png")):
        shutil.copy(path, PICTURES / path.name)
    for path in (ROOT / "results/mini_evidence/figures").glob("few_labels.png"):
        shutil.copy(path, PICTURES / path.name)
    realism()
    screenshots()


if __name__ == "__main__":
    main()
