# %% [markdown]
# # Read the records of a study
#
# Every run of a study leaves a [record](../output.md#the-record): settings, hashes, scores and cost in one JSON file.
# All tables and figures are made from these files alone, and so can yours be. Here a study of three short runs is
# made first, in less than a minute; with a study of your own, start at [Read](#read).
#
# The images are **simulated** and the GFM has 0.2 million parameters and is hardly trained: these numbers say nothing
# about the methods.

# %% [markdown]
# ## Make a small study
#
# One dataset, one GFM, three methods. `snakemake --cores all --configfile small.yaml` runs the same commands, and
# makes tables, figures and a report.

# %%
from pathlib import Path

study = """
study: small
studies:
  small:
    data: simulated
    datasets: [brick_kiln]
    gfms: [scale_mae]
    gfm_size: mini
    methods: [frozen, deflect, lora]
    seeds: [0]
    share_process: true
    simulation:
      seed: 1
      rgb_images: 64
      rgb_pixels: 32
      sizes:
        brick_kiln: {train: 96, val: 24, test: 48}
    pretraining: {steps: 20}
    training:
      classification: {image_size: 48, epochs: 4, batch_size: 16, lr: 0.002}
      segmentation: {}
"""
_ = Path("small.yaml").write_text(study)

# %% language="bash"
# set -e
# deflect --config small.yaml data simulate --rgb
# deflect --config small.yaml data simulate --all
# deflect --config small.yaml data prepare --all
# deflect --config small.yaml gfm pretrain scale_mae
# deflect --config small.yaml train

# %% [markdown]
# ## Read
#
# `load_study` reads and checks every record of a folder. What does not belong with the rest, such as a run of another
# state of the code, is set aside in `stale`.

# %%
from deflect.analysis.records import load_study

study = load_study("results/small/runs")
columns = ["dataset", "gfm", "method", "metric", "score", "tuned_params"]
print(study.runs[columns].round(3).to_string(index=False))

# %% [markdown]
# `runs` is an ordinary data frame with a row per run. Its column `record` has everything that the run wrote down:

# %%
from deflect.record import get

record = study.runs.record[0]
for key in ("method", "score.value", "data.splits", "device.name", "settings.method"):
    print(f"{key}: {get(record, key)}")

# %% [markdown]
# ## Draw
#
# The figures of the report are functions of a study. So is one of your own; `history.csv` in the folder of a run has
# its curve.

# %%
import matplotlib.pyplot as plt
import pandas as pd

figure, axis = plt.subplots(figsize=(6, 3.2), layout="compressed")
for run in study.main.itertuples():
    history = pd.read_csv(run.folder / "history.csv")
    axis.plot(history.epoch, 100 * history.val_score, marker="o", label=run.method)
axis.set(xlabel="epoch", xticks=history.epoch, ylabel="validation F1 (macro, %)")
axis.set_title(f"Brick Kiln, {study.data}")
axis.legend()
plt.show()

# %%
from deflect.analysis import figures

figures.parameter_efficiency(study)

# %% [markdown]
# ## Tables
#
# A table has the data frame behind it, and can be written as csv, Markdown and LaTeX.

# %%
from IPython.display import Markdown

from deflect.analysis import tables

table = tables.main(study)
table.write("scores")
Markdown("scores.md")

# %% [markdown]
# ## Next
#
# * [What a study writes](../output.md): every file, and every entry of a record.
# * [Gallery](../gallery.md): the figures of the mini study.
# * [Run a study](../usage.md): all of this for your data and your GFM.
