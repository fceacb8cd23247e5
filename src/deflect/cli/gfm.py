"""``deflect gfm``: fetch, convert, verify and pretrain GFMs."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deflect.config import load
from deflect.errors import ConfigError
from deflect.files import read_json, write_json
from deflect.settings import GFMS

if TYPE_CHECKING:
    from deflect.settings.study import Study

DOWNLOADS = Path("weights/downloads")


def fetch(args: Namespace) -> None:
    from deflect.gfms import fetch

    study = load(args.config, args.study).study
    for name in _known(study, args.gfms):
        if own := study.own_gfms.get(name):
            from deflect.gfms.own import fetch_own

            print(f"{name}: {fetch_own(name, own)} can be read")
            continue
        checkpoint = fetch.fetch(name, DOWNLOADS / name, size=study.weights.get(name, "full"))
        write_json(DOWNLOADS / name / "fetched.json", {"checkpoint": checkpoint.name})


def convert(args: Namespace) -> None:
    from deflect.data.fetch.file import read_record
    from deflect.gfms import convert

    study = load(args.config, args.study).study
    for name in _known(study, args.gfms):
        weights, size = study.gfm_weights(name), study.size_of(name)
        if own := study.own_gfms.get(name):
            from deflect.gfms.own import convert_own

            print(convert_own(name, own, weights).title)
            continue
        fetched = DOWNLOADS / name / "fetched.json"
        found = read_json(fetched) if fetched.exists() else {}
        if "checkpoint" not in found:
            raise ConfigError(f"{fetched}: nothing downloaded yet; run `deflect gfm fetch {name}`")
        checkpoint = DOWNLOADS / name / found["checkpoint"]
        sha256 = read_record(DOWNLOADS / name).get(checkpoint.name, {}).get("sha256", "")
        print(convert.convert(name, checkpoint, weights, size=size, sha256=sha256).title)


def verify(args: Namespace) -> None:
    from deflect.gfms import verify

    study = load(args.config, args.study).study
    for name in _known(study, args.gfms):
        report = verify.verify(name, study.gfm_weights(name), study.size_of(name))
        print(f"{report['weights']}: {report['title']}, {report['parameters']:,} parameters, {report['sha256']}")
        for what, check in report["checks"].items():
            print(f"  {what}: {check['value']} (from {check['low']} to {check['high']})")


def pretrain(args: Namespace) -> None:
    from deflect.gfms.pretrain import pretrain_study

    study = load(args.config, args.study).study
    for name in _known(study, args.gfms):
        if name in study.own_gfms:
            raise ConfigError(f"{name}: your own GFM has its weights already; run `deflect gfm convert {name}`")
        pretrain_study(study, name)


def _known(study: Study, names: Sequence[str]) -> Sequence[str]:
    from deflect.settings.reading import hint

    known = (*GFMS, *study.own_gfms)
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown GFM {name!r}{hint(name, known)}")
    return names
