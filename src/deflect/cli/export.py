"""``deflect export``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from deflect.gfms.vit import card_of
from deflect.trained.export import export_run
from deflect.trained.model import load_run


def export(args: Namespace) -> None:
    """Write one file, and say what it is and how near it is to the network."""
    run = load_run(args.folder, device="cpu")
    record, card = run.record, card_of(run.network.adapted.gfm)
    name = f"{record['dataset']}_{record['gfm']}_{record['method']}_seed{record['seed']}.{args.to}"
    out = args.out or Path(name.replace(":", "_"))
    difference = export_run(run, args.to, out, args.tolerance)
    bands = ", ".join(run.images.bands.names)
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, the whole network with {card.title} (licence: {card.licence}); "
        f"reflectance (batch, {len(run.images.bands)}, {run.image_size}, {run.image_size}) of {bands} to logits of "
        f"{len(run.images.classes)} classes; on unseen images within {difference:.1g} of the largest logit of the run"
    )
