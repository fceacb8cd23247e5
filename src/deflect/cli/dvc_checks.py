"""What ``deflect doctor`` checks of DVC: stale results, and second copies of large data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deflect.data.disk import human

if TYPE_CHECKING:
    from dvc.repo import Repo

Finding = tuple[str, str]  # ("ok" | "note" | "error", one line)
LARGE = 1_000_000_000  # bytes from which on a second copy is worth a line


def dvc_findings(root: Path = Path()) -> Iterator[Finding]:
    """All findings about the DVC project in ``root``."""
    if not (root / ".dvc").is_dir():
        yield "note", "DVC: no .dvc folder here; `dvc repro` needs the project's folder"
        return
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ImportError:  # which the check of packages reports
        return
    try:
        with Repo(str(root)) as repo:
            yield cache_type(repo)
            yield from linked_results(repo)
            yield from linked_folders(repo)
            yield from second_copies(repo)
    except (DvcException, OSError) as error:
        reason = str(error).partition("\n")[0]
        yield "note", f"DVC: {reason}; `dvc repro` fails until this is corrected, `snakemake` works without DVC"


def cache_type(repo: Repo) -> Finding:
    """A linked cache with `persist: true` gives stale results silently: DVC updates the times of outputs."""
    types = repo.config["cache"].get("type") or []
    for kind in types:
        if kind in ("hardlink", "symlink"):
            return (
                "error",
                f"DVC: cache.type is {','.join(types)!r}: {kind}s make Snakemake take stale results for new ones; "
                "run `dvc config --unset cache.type` (also with --local and --global)",
            )
    return "ok", f"DVC: cache.type is {','.join(types) or 'the default (reflink, copy)'}"


def linked_results(repo: Repo) -> Iterator[Finding]:
    """DVC refuses cached outputs behind a link out of the project, but only after the command has run."""
    folders = {os.path.dirname(out.fs_path) for out in repo.index.outs if out.use_cache}
    for folder in sorted(folders):
        if not Path(folder).resolve().is_relative_to(Path(repo.root_dir).resolve()):
            yield (
                "error",
                f"DVC: {_shown(folder, repo)} is behind a link out of the project, so that `dvc repro` fails when all "
                f"has run; link {_shown(folder, repo)}/runs instead, or run `snakemake`",
            )


def linked_folders(repo: Repo) -> Iterator[Finding]:
    """DVC follows links to files, but a link to a folder only if the link itself is a dependency."""
    dependencies = {dep.fs_path for dep in repo.index.deps}
    found = [
        link
        for dependency in dependencies
        for folder, names, _ in os.walk(dependency)
        for name in names
        if os.path.islink(link := os.path.join(folder, name))
        if link not in dependencies and not repo.dvcignore.is_ignored_dir(link)
    ]
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        yield (
            "note",
            f"DVC: {_shown(min(found), repo)}{more} is a link to a folder, and `dvc repro` does not see changes behind "
            "it; add its path to `deps` in dvc.yaml, or run `snakemake`, which sees them",
        )


def second_copies(repo: Repo) -> Iterator[Finding]:
    """Without reflinks, everything of `dvc add`, and every output without `cache: false`, is on the disk twice."""
    sizes = {out.fs_path: out.meta.size or 0 for out in repo.index.outs if out.use_cache and out.meta}
    large = {path: size for path, size in sizes.items() if size >= LARGE}
    if large and not _has_reflinks(repo):
        listed = ", ".join(f"{_shown(path, repo)} ({human(size)})" for path, size in sorted(large.items()))
        yield (
            "note",
            f"DVC: .dvc/cache keeps a second copy of {listed}, needed only for `dvc push`; to drop it, run "
            "`dvc remove` on its .dvc file (or set `cache: false` in dvc.yaml), then `dvc gc --workspace`",
        )


def _has_reflinks(repo: Repo) -> bool:
    """Whether copies in the cache share blocks with the files, e.g. on XFS, Btrfs and APFS."""
    done = subprocess.run([sys.executable, "-m", "dvc", "version"], cwd=repo.root_dir, capture_output=True, text=True)
    return any(line.startswith("Cache types:") and "reflink" in line for line in done.stdout.splitlines())


def _shown(path: str, repo: Repo) -> str:
    return os.path.relpath(path, repo.root_dir)
