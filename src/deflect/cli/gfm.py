"""``deflect gfm``: fetch, convert, verify and pretrain GFMs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from deflect.config import load
from deflect.errors import ConfigError
from deflect.files import read_json, write_json

DOWNLOADS = Path("weights/downloads")


def fetch(args: Namespace) -> None:
    from deflect.gfms import fetch

    study = load(args.config, args.study).study
    for name in args.gfms:
        checkpoint = fetch.fetch(name, DOWNLOADS / name, size=study.weights.get(name, "full"))
        write_json(DOWNLOADS / name / "fetched.json", {"checkpoint": checkpoint.name})


def convert(args: Namespace) -> None:
    from deflect.data.fetch.file import read_record
    from deflect.gfms import convert

    study = load(args.config, args.study).study
    for name in args.gfms:
        fetched = DOWNLOADS / name / "fetched.json"
        found = read_json(fetched) if fetched.exists() else {}
        if "checkpoint" not in found:
            raise ConfigError(f"{fetched}: nothing downloaded yet; run `deflect gfm fetch {name}`")
        checkpoint = DOWNLOADS / name / found["checkpoint"]
        sha256 = read_record(DOWNLOADS / name).get(checkpoint.name, {}).get("sha256", "")
        weights, size = study.gfm_weights(name), study.size_of(name)
        print(convert.convert(name, checkpoint, weights, size=size, sha256=sha256).title)


def verify(args: Namespace) -> None:
    from deflect.gfms import verify

    study = load(args.config, args.study).study
    for name in args.gfms:
        report = verify.verify(name, study.gfm_weights(name), study.size_of(name))
        print(f"{report['weights']}: {report['title']}, {report['parameters']:,} parameters, {report['sha256']}")
        for what, check in report["checks"].items():
            print(f"  {what}: {check['value']} (from {check['low']} to {check['high']})")


def pretrain(args: Namespace) -> None:
    from deflect.gfms.pretrain import pretrain_study

    study = load(args.config, args.study).study
    for name in args.gfms:
        pretrain_study(study, name)
