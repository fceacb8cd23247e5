"""The command ``deflect``: every step of the workflow by hand.

The functions that run the commands are in the modules of this package, which are imported only when needed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from deflect.cli.machine import make_usable
from deflect.config import INSTALL
from deflect.errors import DeflectError, one_line
from deflect.settings import DATASETS, GFMS
from deflect.workflow import WARNING


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; an error that the user can correct is one line on stderr and exit code 2."""
    args = parser().parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("timm").setLevel(logging.WARNING)  # it logs every position embedding that it resizes
    logging.getLogger("rasterio").setLevel(logging.WARNING)  # it logs every error that it raises
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # looking for plugins takes 8 ms
    args.changes = make_usable()
    module, function = args.run.split(".")
    for line in args.changes if function != "doctor" else []:
        print(f"deflect: {line}", file=sys.stderr)
    try:
        return int(getattr(import_module(f"deflect.cli.{module}"), function)(args) or 0)
    except (DeflectError, OSError) as error:
        print(f"deflect: {one_line(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "deflect":
            raise
        print(f"deflect: the package {error.name} is not installed; {INSTALL}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("deflect: interrupted; nothing finished is lost", file=sys.stderr)
        return 130


class _Plain(logging.Formatter):
    """The message alone; warnings get the prefix by which the workflow finds them in a log."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return f"{WARNING}{text}" if record.levelno >= logging.WARNING else text


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="deflect", description="Adapt RGB geospatial foundation models to all bands.")
    top.add_argument("--config", type=Path, help="configuration (default: config.yaml)")
    top.add_argument("--study", help="which study of the configuration, mini or paper (default: its own choice)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="fetch, verify, simulate, prepare and check datasets")
    steps = data.add_subparsers(required=True, metavar="STEP")
    _add(steps, "status", "data.status", "what is fetched, verified and prepared, and how to get the rest")
    for name, text in (
        ("fetch", "download, check and unpack"),
        ("verify", "compare downloaded files with their checksums"),
        ("simulate", "write simulated raw files in the published formats"),
        ("prepare", "read raw files into the store that training uses"),
        ("duplicates", "count images of val and test that are almost in train"),
        ("check", "write a page to look at before training, with everything suspicious in words"),
    ):
        step = _add(steps, name, f"data.{name}", text)
        step.add_argument("datasets", nargs="*", metavar="NAME", help=", ".join(DATASETS))
        step.add_argument("--all", action="store_true", help="every dataset of the study")
        if name == "fetch":
            step.add_argument("--drop-archive", action="store_true", help="delete an archive once it is unpacked")
        if name == "simulate":
            step.add_argument("--rgb", action="store_true", help="the RGB images that mini GFMs are pretrained on")
        if name == "prepare":
            step.add_argument("--jobs", type=int, default=0, help="processes (default: one per core)")
            step.add_argument("--no-check", action="store_true", help="take sizes and statistics as they are")
            text = "only part K of N, on a machine of its own; `prepare` without it does the rest"
            step.add_argument("--part", type=_part, metavar="K/N", help=text)
        if name == "check":
            text = "of one dataset (default: results/STUDY/checks/NAME.html)"
            step.add_argument("--out", type=Path, metavar="FILE", help=text)

    gfm = commands.add_parser("gfm", help="fetch, convert, verify and pretrain GFMs")
    steps = gfm.add_subparsers(required=True, metavar="STEP")
    for name, text in (
        ("fetch", "download the published weights"),
        ("convert", "convert a download once to safetensors in timm names"),
        ("verify", "prove that features come from the weights"),
        ("pretrain", "pretrain a mini GFM on simulated RGB images"),
    ):
        step = _add(steps, name, f"gfm.{name}", text)
        step.add_argument("gfms", nargs="+", metavar="NAME", help=", ".join([*GFMS, "or one of the study's own_gfms"]))

    plan = _add(
        commands, "plan", "plan.plan", "estimate runs, time, disk, memory and energy of the study; trains nothing"
    )
    plan.add_argument("--study", default=argparse.SUPPRESS, help="the same as before the command")
    plan.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    plan.add_argument("--devices", type=int, default=8, metavar="N", help="devices to divide the time by (default: 8)")
    train = _add(commands, "train", "runs.train", "train runs of the study; those already finished are skipped")
    tune = _add(commands, "tune", "runs.tune", "search learning rates and ranks on validation; see `tuning`")
    for step in (train, tune):
        for what in ("dataset", "gfm", "method"):
            step.add_argument(f"--{what}", nargs="+", metavar="NAME", help=f"only these (default: every {what})")
        step.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
        step.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")
    train.add_argument("--seed", nargs="+", type=int, metavar="N", help="only these (default: every seed)")
    evaluate = _add(commands, "evaluate", "runs.evaluate", "test finished runs again from their saved weights")
    evaluate.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with a record.json")
    _add_trained(commands)

    notebook = _add(commands, "notebook", "report.notebook", "execute notebooks of the study: tables and figures")
    notebook.add_argument("notebooks", nargs="+", metavar="NAME", help="a file of notebooks/, without .py")
    for name, text in (
        ("records", "list the finished runs with the hashes of their records in one file"),
        ("summary", "write the two-minute page and metrics.json"),
        ("explore", "write the page on which tables sort and every number leads to its runs"),
        ("crate", "describe the results as a Workflow Run RO-Crate, in ro-crate-metadata.json"),
        ("report", "rebuild tables, figures and report from finished runs, training nothing"),
    ):
        _add(commands, name, f"report.{name}", text)
    _add(commands, "doctor", "doctor.doctor", "check the environment, configuration and DVC for known problems")
    return top


def _part(text: str) -> tuple[int, int]:
    """``2/8`` as (2, 8)."""
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 0 < int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"expected K/N with K from 1 to N, such as 2/8, found {text!r}")
    return int(part), int(parts)


def _add_trained(commands: Any) -> None:
    """The commands that use a finished run."""
    predict = _add(commands, "predict", "trained.predict", "map a scene of any size with a finished run")
    predict.add_argument("run_folder", type=Path, metavar="RUN", help="folder with a record.json and the weights")
    scene = "a GeoTIFF, JPEG 2000, PNG or VRT, or NAME=FILE for each band"
    predict.add_argument("scenes", nargs="+", metavar="SCENE", help=scene)
    text = (
        "a GeoTIFF (default: SCENE_map.tif in this folder), or a .csv with the class or number of each of several files"
    )
    predict.add_argument("-o", "--output", type=Path, metavar="FILE", help=text)
    predict.add_argument("--probabilities", action="store_true", help="percent of each class instead of the class")
    predict.add_argument("--embeddings", action="store_true", help="features of the GFM's patches instead of classes")
    predict.add_argument("--overlap", type=float, default=0.0, metavar="SHARE", help="overlap of windows, 0 to 0.9")
    predict.add_argument(
        "--stride", type=int, metavar="PIXELS", help="where images have labels: pixels between windows"
    )
    for name in ("scale", "offset"):
        text = "(stored + offset) * scale is reflectance; one number, or one per band with commas"
        predict.add_argument(f"--{name}", type=numbers, metavar="X,...", help=text)
    predict.add_argument("--any-gsd", action="store_true", help="accept pixels of another size than in training")
    predict.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")

    export = _add(commands, "export", "trained.export", "write a run's network as one file that runs without deflect")
    export.add_argument("run_folder", type=Path, metavar="RUN", help="folder with a record.json")
    export.add_argument("--to", choices=("pt2", "onnx"), required=True, help="a program of PyTorch, or ONNX")
    export.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: named after the run, here")
    export.add_argument(
        "--tolerance", type=float, default=1e-5, help="largest difference from the run's logits (default: 1e-5 of them)"
    )

    share = _add(commands, "share", "trained.share", "write a folder from which others can load the model of a run")
    share.add_argument("run_folder", type=Path, metavar="RUN", help="folder with a record.json")
    share.add_argument("folder", type=Path, metavar="FOLDER", help="a new folder, or one that this command wrote")
    share.add_argument("--push", metavar="USER/NAME", help="upload it to this repository of the Hugging Face Hub too")
    share.add_argument("--with-gfm", action="store_true", help="include the frozen weights, if their licence allows it")


def numbers(text: str) -> list[float]:
    """Numbers separated by commas."""
    return [float(number) for number in text.split(",")]


def _add(commands: Any, name: str, run: str, text: str) -> argparse.ArgumentParser:
    """A command that calls ``run``, a module of this package and a function of it."""
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command
