"""``deflect predict``, ``deflect export`` and ``deflect share``: use the model of a finished run."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from deflect.errors import ConfigError
from deflect.settings import REGRESSIONS


def predict(args: Namespace) -> None:
    """Write the map of a scene, or with ``-o FILE.csv`` a table with the class or number of each file."""
    from deflect.trained.labels import label_files
    from deflect.trained.maps import predict_scene
    from deflect.trained.model import load_run

    scenes = _scenes(args.scenes)
    first = scenes[0] if isinstance(scenes[0], Path) else next(iter(scenes[0].values()))
    out = args.output or Path(f"{first.stem}_map.tif")
    units = {name: getattr(args, name) for name in ("scale", "offset", "any_gsd")}
    options = {name: getattr(args, name) for name in ("probabilities", "embeddings", "overlap", "stride")}
    table = out.suffix.lower() == ".csv"
    if table and any(options.values()):
        raise ConfigError(f"{out}: --probabilities, --embeddings, --overlap and --stride are for maps, not for tables")
    if not table and len(scenes) > 1:
        raise ConfigError(f"{out}: a map is of one scene, found {len(scenes)}; use -o FILE.csv for a class per file")
    model = load_run(args.run_folder, device=args.device)
    if table:
        label_files(model, scenes, out, **units)
    else:
        predict_scene(model, scenes[0], out, **options, **units)
    print(out)


def _scenes(given: list[str]) -> list[Path] | list[dict[str, Path]]:
    """Files of whole scenes, or one scene with NAME=FILE for each band."""
    pairs = [text.partition("=") for text in given if "=" in text and not Path(text).exists()]
    if not pairs:
        return [Path(text) for text in given]
    if len(pairs) < len(given) or len({name for name, *_ in pairs}) < len(pairs):
        raise ConfigError(f"expected scenes, or NAME=FILE once for each band of one scene, found {' '.join(given)}")
    return [{name: Path(path) for name, _, path in pairs}]


def export(args: Namespace) -> None:
    """Write one file, and say what it is and how near it is to the network."""
    from deflect.trained.export import export_run
    from deflect.trained.model import load_run

    run = load_run(args.run_folder, device="cpu")
    record, card = run.record, run.gfm
    name = f"{record['dataset']}_{record['gfm']}_{record['method']}_seed{record['seed']}.{args.to}"
    out = args.output or Path(name.replace(":", "_"))
    difference = export_run(run, args.to, out, args.tolerance)
    bands, classes = ", ".join(run.images.bands.names), run.images.classes
    output = classes[0] if record["task"] in REGRESSIONS else f"logits of {len(classes)} classes"
    print(
        f"{out}: {out.stat().st_size / 1e6:.1f} MB, the whole network with {card.title} (licence: {card.licence}); "
        f"reflectance (batch, {len(run.images.bands)}, {run.image_size}, {run.image_size}) of {bands} to {output}; "
        f"on unseen images within {difference:.1g} of the largest output of the run"
    )


def share(args: Namespace) -> None:
    from deflect.trained.share import share

    address = share(args.run_folder, args.folder, args.push, args.with_gfm)
    print(f"{args.run_folder}: shared; load it with deflect.load({address!r})")
