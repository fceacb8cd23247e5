"""``deflect predict``."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from deflect.errors import ConfigError
from deflect.trained.model import load_run


def predict(args: Namespace) -> None:
    """Map a scene."""
    from deflect.trained.maps import predict_scene

    scenes = _scenes(args.scene)
    first = scenes[0] if isinstance(scenes, list) else next(iter(scenes.values()))
    out = args.output or Path(f"{first.stem}_map.tif")
    options = {name: getattr(args, name) for name in ("probabilities", "embeddings", "overlap", "stride", "scale")}
    options |= {"offset": args.offset, "any_gsd": args.any_gsd}
    model = load_run(args.run_folder, device=args.device)
    scene = scenes if isinstance(scenes, dict) else scenes[0]
    print(predict_scene(model, scene, out, **options))


def _scenes(given: list[str]) -> list[Path] | dict[str, Path]:
    """Files of whole scenes, or NAME=FILE for each band of one."""
    pairs = [text.partition("=") for text in given if "=" in text and not Path(text).exists()]
    if not pairs:
        return [Path(text) for text in given]
    if len(pairs) < len(given) or len({name for name, *_ in pairs}) < len(pairs):
        raise ConfigError("expected files of scenes, or NAME=FILE once for each band of one scene, found both")
    return {name: Path(path) for name, _, path in pairs}
