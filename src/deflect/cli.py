"""The command ``deflect``: every step of the workflow by hand. Thin: parse, call, print; imports happen per command."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deflect.config import INSTALL, load
from deflect.errors import ConfigError, DeflectError, one_line
from deflect.places import make_usable
from deflect.settings import DATASETS, GFMS
from deflect.workflow import WARNING, write_index

if TYPE_CHECKING:
    from deflect.settings.study import Config


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; a fault that the user can mend is one line on stderr and exit code 2."""
    args = parser().parse_args(argv)
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("timm").setLevel(logging.WARNING)  # it tells of every position embedding that it resizes
    args.changes = make_usable()
    for line in args.changes if args.run is not _doctor else []:
        print(f"deflect: {line}", file=sys.stderr)
    try:
        return int(args.run(args) or 0)
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
    """The message alone; by the mark of a warning the workflow finds it in a log."""

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        return f"{WARNING}{text}" if record.levelno >= logging.WARNING else text


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="deflect", description="Adapt RGB geospatial foundation models to all bands.")
    top.add_argument("--config", type=Path, help="configuration (default: config.yaml)")
    top.add_argument("--study", help="which study of the configuration, mini or paper (default: its own choice)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _data_commands(commands.add_parser("data", help="fetch, verify, simulate and prepare datasets"))
    _gfm_commands(commands.add_parser("gfm", help="fetch, convert, verify and pretrain GFMs"))

    train = _command(commands, "train", _train, "train runs of the study; those already finished are skipped")
    for what in ("dataset", "gfm", "method"):
        train.add_argument(f"--{what}", nargs="+", metavar="NAME", help=f"only these (default: every {what})")
    train.add_argument("--seed", nargs="+", type=int, metavar="N", help="only these (default: every seed)")
    train.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    train.add_argument("--threads", type=int, default=0, help="CPU threads (default: torch's choice)")

    evaluate = _command(commands, "evaluate", _evaluate, "test finished runs again from their saved weights")
    evaluate.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder with a record.json")
    notebooks = _command(commands, "notebook", _notebook, "execute notebooks of the study: tables and figures")
    notebooks.add_argument("notebooks", nargs="+", metavar="NAME", help="a file of notebooks/, without .py")
    _command(commands, "records", _records, "list the finished runs with the hashes of their records in one file")
    _command(commands, "summary", _summary, "write the two-minute page and metrics.json")
    _command(commands, "report", _report, "rebuild tables, figures and report from finished runs, training nothing")
    _command(commands, "doctor", _doctor, "check the environment, configuration and DVC for known traps")
    return top


def _command(commands: Any, name: str, run: Callable[[Any], int | None], text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def _data_commands(data: argparse.ArgumentParser) -> None:
    commands = data.add_subparsers(required=True, metavar="STEP")
    _command(commands, "status", _data_status, "what is fetched, verified and prepared, and how to get the rest")
    for name, run, text in (
        ("fetch", _data_fetch, "download, check and unpack"),
        ("verify", _data_verify, "hold downloaded files against their checksums"),
        ("simulate", _data_simulate, "write simulated raw files in the published formats"),
        ("prepare", _data_prepare, "read raw files into the store that training uses"),
    ):
        command = _command(commands, name, run, text)
        command.add_argument("datasets", nargs="*", metavar="NAME", help=", ".join(DATASETS))
        command.add_argument("--all", action="store_true", help="every dataset of the study")
        if name == "fetch":
            command.add_argument("--drop-archive", action="store_true", help="delete an archive once it is unpacked")
        if name == "simulate":
            command.add_argument("--rgb", action="store_true", help="the RGB images that mini GFMs are pretrained on")
        if name == "prepare":
            command.add_argument("--jobs", type=int, default=0, help="processes (default: one per core)")
            command.add_argument("--no-check", action="store_true", help="take sizes and statistics as they are")


def _gfm_commands(gfm: argparse.ArgumentParser) -> None:
    commands = gfm.add_subparsers(required=True, metavar="STEP")
    for name, run, text in (
        ("fetch", _gfm_fetch, "download the published weights"),
        ("convert", _gfm_convert, "convert a download once to safetensors in timm names"),
        ("verify", _gfm_verify, "prove that features come from the weights"),
        ("pretrain", _gfm_pretrain, "pretrain a mini GFM on simulated RGB images"),
    ):
        command = _command(commands, name, run, text)
        command.add_argument("gfms", nargs="+", metavar="NAME", choices=GFMS, help=", ".join(GFMS))


def _datasets(args: argparse.Namespace, config: Config) -> list[str]:
    """The datasets named on the command line, all of the study's with --all."""
    names = list(config.study.datasets) if args.all else list(args.datasets)
    if not names:
        raise ConfigError(f"name a dataset or give --all; this study has {', '.join(config.study.datasets)}")
    known = list(dict.fromkeys([*DATASETS, *config.study.datasets]))
    unknown = [name for name in names if name not in known]
    if unknown:
        how = f"add one of your own to studies.{config.study.name}.datasets in config.yaml"
        raise ConfigError(f"unknown dataset {unknown[0]!r}; known: {', '.join(known)}; {how}")
    return names


def _data_status(args: argparse.Namespace) -> None:
    from deflect.data.fetch.status import status_table

    study = load(args.config, args.study).study
    simulated = Path("data/simulated") if study.simulated else None
    print(status_table(Path("data/raw"), Path("data/prepared"), study.name, simulated))


def _data_fetch(args: argparse.Namespace) -> None:
    from shutil import disk_usage

    from deflect.data.disk import human
    from deflect.data.fetch.dataset import ARCHIVES, fetch

    config = load(args.config, args.study)
    if not config.study.simulated and not any(Path("data/raw", ARCHIVES).glob("*")):  # before the first download
        from deflect.training.needs import needs_line

        logging.getLogger(__name__).info("%s; %s free here", needs_line(config), human(disk_usage(Path()).free))
    keep = config.study.keep_archives and not args.drop_archive
    for name in _datasets(args, config):
        if name in DATASETS:  # a dataset of the user's own is already where it belongs
            fetch(name, Path("data/raw"), keep_archive=keep)


def _data_verify(args: argparse.Namespace) -> None:
    from deflect.data.fetch.dataset import verify

    for name in _datasets(args, load(args.config, args.study)):
        print(verify(name, Path("data/raw")))


def _data_simulate(args: argparse.Namespace) -> None:
    from deflect.data.simulate import simulate, simulate_rgb
    from deflect.settings.simulation import SimulationSize

    config = load(args.config, args.study)
    study, settings = config.study, config.study.simulation
    if not study.simulated:
        raise ConfigError(
            f"study {study.name} uses real data; `deflect --study mini data simulate` writes simulated data"
        )
    if args.rgb:
        simulate_rgb(study.rgb_images, settings["rgb_images"], settings["rgb_pixels"], settings["seed"])
    for name in [] if args.rgb and not args.datasets else _datasets(args, config):
        if name not in DATASETS and args.all:
            continue  # a dataset of the user's own is real in every study
        if name not in settings.get("sizes", {}):
            key = f"studies.{study.name}.simulation.sizes"
            raise ConfigError(f"config: {key}: no sizes of {name!r}; add them there, or name another dataset")
        simulate(name, study.raw(name), SimulationSize(**settings["sizes"][name]), settings["seed"])


def _data_prepare(args: argparse.Namespace) -> None:
    from deflect.data.catalog import AS_PUBLISHED
    from deflect.data.prepare import prepare

    config = load(args.config, args.study)
    study = config.study
    for name in _datasets(args, config):
        prepare(
            name,
            study.raw(name),
            study.prepared(name),
            simulated=study.simulated,
            check_published=not (args.no_check or name in study.unchecked),
            jobs=args.jobs,
            sheet=AS_PUBLISHED[name] if name in study.as_published else None,
        )


DOWNLOADS = Path("weights/downloads")


def _gfm_fetch(args: argparse.Namespace) -> None:
    from deflect.files import write_json
    from deflect.gfms.fetch import fetch

    study = load(args.config, args.study).study
    for name in args.gfms:
        checkpoint = fetch(name, DOWNLOADS / name, size=study.weights.get(name, "full"))
        write_json(DOWNLOADS / name / "fetched.json", {"checkpoint": checkpoint.name})


def _gfm_convert(args: argparse.Namespace) -> None:
    from deflect.data.fetch.file import read_record
    from deflect.files import read_json
    from deflect.gfms.convert import convert

    study = load(args.config, args.study).study
    for name in args.gfms:
        fetched = DOWNLOADS / name / "fetched.json"
        noted = read_json(fetched) if fetched.exists() else {}
        if "checkpoint" not in noted:
            raise ConfigError(f"{fetched}: nothing downloaded yet; run `deflect gfm fetch {name}`")
        checkpoint = DOWNLOADS / name / noted["checkpoint"]
        sha256 = read_record(DOWNLOADS / name).get(checkpoint.name, {}).get("sha256", "")
        print(convert(name, checkpoint, study.gfm_weights(name), size=study.size_of(name), sha256=sha256).title)


def _gfm_verify(args: argparse.Namespace) -> None:
    from deflect.gfms.verify import verify

    study = load(args.config, args.study).study
    for name in args.gfms:
        report = verify(name, study.gfm_weights(name), study.size_of(name))
        print(f"{report['weights']}: {report['title']}, {report['parameters']:,} parameters, {report['sha256']}")
        for what, check in report["checks"].items():
            print(f"  {what}: {check['value']} (from {check['low']} to {check['high']})")


def _gfm_pretrain(args: argparse.Namespace) -> None:
    from deflect.gfms.pretrain import pretrain_study

    study = load(args.config, args.study).study
    for name in args.gfms:
        pretrain_study(study, name)


def _train(args: argparse.Namespace) -> int:
    from deflect.training.grid import grid, train_all

    config = load(args.config, args.study)
    return train_all(grid(config, args.dataset, args.gfm, args.method, args.seed, args.device, args.threads))


def _evaluate(args: argparse.Namespace) -> int:
    from deflect.training.evaluate import evaluate

    failed = 0
    for run in args.runs:
        try:
            found = evaluate(run)
        except (DeflectError, OSError) as error:
            print(f"deflect: {one_line(error)}", file=sys.stderr)
            failed += 1
            continue
        print(found)
        failed += not found.agrees
    return int(failed > 0)


def _records(args: argparse.Namespace) -> None:
    print(write_index(load(args.config, args.study).study))


def _notebook(args: argparse.Namespace) -> None:
    from deflect.report import notebook

    for name in args.notebooks:
        print(notebook(load(args.config, args.study), name))


def _summary(args: argparse.Namespace) -> None:
    from deflect.report import summary

    print(summary(load(args.config, args.study)))


def _report(args: argparse.Namespace) -> int:
    from deflect.report import report

    return report(load(args.config, args.study).study, args.config)


def _doctor(args: argparse.Namespace) -> int:
    from deflect.doctor import doctor

    return doctor(args.config, args.study, args.changes)
