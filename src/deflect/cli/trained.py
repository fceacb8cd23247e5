"""``deflect share``: use the model of a finished run."""

from __future__ import annotations

from argparse import Namespace


def share(args: Namespace) -> None:
    from deflect.trained.share import share

    address = share(args.run_folder, args.folder, args.push, args.with_gfm)
    print(f"{args.run_folder}: shared; load it with deflect.load({address!r})")
