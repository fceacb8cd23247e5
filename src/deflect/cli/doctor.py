"""``deflect doctor``: check the machine and the configuration for known problems and give the remedy for each."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from deflect.cli.dvc_checks import Finding, dvc_findings
from deflect.config import INSTALL, load
from deflect.data.disk import human
from deflect.errors import DeflectError

if TYPE_CHECKING:
    from deflect.settings.study import Study

PACKAGES = ("torch", "torchvision", "timm", "snakemake", "dvc", "papermill", "torchgeo", "wandb")

#: Where administrators put certificates of their own (Debian, Fedora, Arch, SUSE).
ANCHORS = (
    "/usr/local/share/ca-certificates/**/*.crt",
    "/etc/pki/ca-trust/source/anchors/*",
    "/etc/ca-certificates/trust-source/anchors/*",
    "/etc/pki/trust/anchors/*",
)


def doctor(args: Namespace) -> int:
    """Print one line per check; returns 1 if one of them is an error."""
    findings = [
        ("ok", f"Python {sys.version.split()[0]}"),
        *packages(),
        *configuration(args.config, args.study),
        *(("note", line) for line in args.changes),
        *([] if args.changes else [("ok", "TMPDIR, HOME and the user's name can be used")]),
        encoding(),
        git(),
        *dvc_findings(),
        certificates(),
        wandb(),
        *slurm(),
    ]
    for level, line in findings:
        print(f"{level:>5}  {line}")
    return int(any(level == "error" for level, _ in findings))


def packages() -> Iterator[Finding]:
    lock = Path("requirements.lock")
    pins = lock.read_text() if lock.exists() else ""
    for name in PACKAGES:
        try:
            found = version(name)
        except PackageNotFoundError:
            yield "error", f"{name}: not installed; {INSTALL}"
            continue
        if pins and f"\n{name}=={found} " not in f"\n{pins}":
            yield "note", f"{name} {found}: requirements.lock has another version; `make env` installs that one"
        else:
            yield "ok", f"{name} {found}"


def configuration(path: Path | None, name: str | None) -> Iterator[Finding]:
    """The study, the GPU and the disk space."""
    import torch

    from deflect.training.needs import disk_needs, needs_line

    config = None
    try:
        config = load(path, name)
        study = config.study
        yield "ok", f"config: study {study.name}, {len(study.datasets)} datasets, {len(study.gfms)} GFMs"
    except DeflectError as error:
        yield "error", str(error)
    if torch.cuda.is_available():
        yield "ok", f"GPU: {torch.cuda.get_device_name()} (CUDA {torch.version.cuda})"
    else:
        yield "note", "no GPU: the mini study runs on the CPU, the paper study needs a GPU; `deflect plan` gives hours"
    if config is None:
        return
    try:
        yield from own_gfms(config.study)
        free = shutil.disk_usage(Path()).free
        enough = free > sum(disk_needs(config).values())
        yield "ok" if enough else "note", f"disk: {human(free)} free here; {needs_line(config)}"
    except DeflectError as error:
        yield "error", str(error)


def own_gfms(study: Study) -> Iterator[Finding]:
    """GFMs of the user's own: the model, and whether the file of the weights is there.

    Raises:
        ModelError: timm has no such model, or it is no plain Vision Transformer.
    """
    from deflect.gfms.own import card_in

    for name, own in study.own_gfms.items():
        facts = "{timm}, width {embed_dim}, depth {depth}, patch {patch_size}"
        card = card_in(study, name)
        text = f"GFM {name}: {facts.format(timm=card.timm, **card.architecture)}; weights: {own.weights}"
        if own.from_hub or Path(own.weights).is_file():
            yield "ok", text
        else:
            yield "error", f"{text}, no such file"


def encoding() -> Finding:
    found = locale.getencoding()
    if sys.flags.utf8_mode or found.lower() in ("utf-8", "utf8"):
        return "ok", "text is UTF-8"
    return "error", f"text is {found} in this locale, names with other letters fail; run `export PYTHONUTF8=1`"


def git(root: Path = Path()) -> Finding:
    """DVC needs git and a repository; run records contain the revision."""
    if shutil.which("git") is None:
        return "error", "git: not found; `dvc repro` fails without it; install git, or run `snakemake` instead of DVC"
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True)
    if done.returncode == 0:
        return "ok", f"git: revision {done.stdout[:7]}"
    reason = done.stderr.strip().partition("\n")[0]
    return "note", f"git: {reason}; `dvc repro` and the revision in records need a clone (`git clone`, or `git init`)"


def certificates(anchors: Sequence[str] = ANCHORS) -> Finding:
    """Added certificates mean a proxy that signs for every server; Python does not use them by default."""
    own = sorted(str(path) for pattern in anchors for path in Path("/").glob(pattern.lstrip("/")))
    used = [name for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE") if os.environ.get(name)]
    if own and len(used) < 2:
        return (
            "note",
            f"TLS: this machine has certificates of its own ({own[0]}); if downloads fail with `certificate verify "
            "failed`, set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to the system's file, e.g. "
            "/etc/ssl/certs/ca-certificates.crt (for uv alone: UV_SYSTEM_CERTS=true, as `make env` does)",
        )
    return "ok", f"TLS: {' and '.join(used) + ' set' if used else 'no certificates of an institute found'}"


def wandb() -> Finding:
    mode = os.environ.get("WANDB_MODE")
    if mode == "online" and not (os.environ.get("WANDB_API_KEY") or Path("~/.netrc").expanduser().exists()):
        return "note", "W&B: WANDB_MODE=online but no key was found; run `wandb login` or use offline"
    return "ok", f"W&B: WANDB_MODE is {mode or 'not set; config.yaml decides'}"


def slurm() -> Iterator[Finding]:
    """On a cluster, whether Snakemake's plugin learns from ``sacct`` when a job ends; else it would wait for ever."""
    if shutil.which("sbatch") is None or shutil.which("sacct") is None:
        return  # no cluster, or the plugin asks `squeue` by itself
    try:
        done = subprocess.run(["sacct", "--noheader", "--name=none"], capture_output=True, text=True, timeout=20)
    except subprocess.TimeoutExpired:
        yield "note", "Slurm: `sacct` does not answer within 20 s; uncomment the line with `squeue` in the profile"
        return
    if done.returncode == 0:
        yield "ok", "Slurm: `sacct` answers"
    else:
        reason = done.stderr.strip().partition("\n")[0] or f"exit status {done.returncode}"
        yield "note", f"Slurm: `sacct` fails ({reason}); uncomment the line with `squeue` in the profile"
