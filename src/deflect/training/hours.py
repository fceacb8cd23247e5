"""Time, memory and energy that the runs of a study take on this machine, from a few timed steps of each cost class.

Needs neither data nor weights: sizes come from the catalog or the simulation, weights and images are random.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch

from deflect.bands import BandStatistics
from deflect.data.card import CARD, StoreCard, read_card
from deflect.data.catalog import AS_PUBLISHED, dataset_sheet
from deflect.errors import DataError
from deflect.gfms import GFMCard, build
from deflect.gfms.own import card_in
from deflect.methods.base import AdaptedGFM
from deflect.methods.deflect.model import DeflectedGFM
from deflect.methods.report import model_of
from deflect.settings import DATASETS, REGRESSIONS
from deflect.settings.study import Config, RunName, Study
from deflect.settings.training import TrainSettings
from deflect.training.context import Context
from deflect.training.model import FEATURE_BYTES, build_model, fitted, is_cut
from deflect.training.scoring import window_origins
from deflect.training.timing import Cost, cost_class, power, time_head, time_model

#: On a CPU a GFM is timed with this many of its blocks, which all take the same time.
BLOCKS = 4


@dataclass(frozen=True)
class RunCost:
    """Seconds of one run with training and test, bytes at its peak, and training images times epochs."""

    seconds: float
    memory: float
    images: int


class Estimate:
    """The cost of every run of a study, by (dataset, gfm, method).

    Attributes:
        runs: the runs that are counted.
        unknown: own datasets, whose sizes are not known before they are prepared; their runs are not counted.
        watts: power of the device during the timing; NaN where it has no counter.
    """

    def __init__(self, config: Config, device: torch.device, told: Callable[[str], object] = lambda text: None) -> None:
        """``told`` is called before each timing with its name.

        Raises:
            DataError: the size of no dataset is known.
        """
        self.config, self.device, self.told = config, device, told
        self.cards = planned_cards(config.study)
        if not self.cards:
            names = ", ".join(config.study.datasets)
            raise DataError(f"{names}: not prepared yet, so of unknown size; run `deflect data prepare` first")
        self.unknown = [name for name in config.study.datasets if name not in self.cards]
        self.runs = [run for run in config.study.runs() if run.dataset in self.cards]
        self.last: tuple[Any, Any] = (None, None)
        self.models: dict[Any, Cost] = {}
        self.heads: dict[Any, tuple[Cost, float]] = {}
        by_gfm = sorted({run[:3] for run in self.runs}, key=lambda run: config.study.gfms.index(run[1]))
        self.costs = {run: self._cost(*run) for run in by_gfm}
        self.watts = power([*self.models.values(), *(cost for cost, _ in self.heads.values())])

    def cost(self, run: RunName) -> RunCost:
        return self.costs[run[:3]]

    def _cost(self, dataset: str, gfm: str, name: str) -> RunCost:
        card, method = self.cards[dataset], self.config.method(name)
        vit = card_in(self.config.study, gfm)
        settings = fitted(self.config.study.training_of(dataset, card.task, method.training), vit)
        bare = _bare(method.method, json.dumps(method.settings), vit)
        whole = self._model(vit, bare, method.method, method.settings, settings)
        head, width = self._head(vit, card, settings)
        linear = self._head(vit, self._any("classification"), settings)[0]
        n = {split: facts["n"] for split, facts in card.splits.items()}
        windows = len(window_origins(card.image_size, settings.image_size)) ** 2 if is_cut(card, settings) else 1
        tuned = sum(p.numel() for p in bare.parameters() if p.requires_grad)

        deeper = vit.architecture["depth"] / self._depth(vit)
        encode_train = deeper * max(whole.gradients - linear.gradients, 0)
        encode = deeper * max(whole.predict - linear.predict, 0)
        update = deeper * max(whole.update - linear.update, 0) + head.update
        features = 0.0
        constant = not tuned and windows == 1 and not settings.augment and not is_cut(card, settings)
        if constant and width * n["train"] < FEATURE_BYTES:
            features, encode_train, encode_val = encode * (n["train"] + n["val"]), 0.0, 0.0
        else:
            encode_val = encode
        steps = settings.epochs * n["train"] / settings.batch_size
        training = steps * (settings.batch_size * (encode_train + head.gradients) + update)
        validations = settings.epochs // settings.validate_every
        validation = validations * n["val"] * windows * (encode_val + head.predict)
        tests = 2 if isinstance(bare, DeflectedGFM) else 1  # for the figure of displacements
        test = n["test"] * windows * (tests * encode + head.predict)

        parameters = sum(p.numel() for p in bare.parameters())
        kept = 0 if features else deeper * (settings.batch_size * whole.activations + whole.casts)
        kept += settings.batch_size * head.activations + head.casts
        memory = 4 * (parameters + 3 * tuned) + kept  # gradient and two moments of AdamW
        return RunCost(features + training + validation + test, memory, settings.epochs * n["train"])

    def _model(
        self, vit: GFMCard, bare: AdaptedGFM, method: str, options: dict[str, Any], settings: TrainSettings
    ) -> Cost:
        """The cost of a method of this class, with the linear head."""
        timed = _timed(settings)
        key = (vit, timed, cost_class(bare))
        if key not in self.models:
            self.told(f"{vit.name} {method}")
            card, context = self._any("classification"), Context(timed, device=self.device)
            options = {name: value for name, value in options.items() if name != "blocks"}  # it has not all of them
            model = build_model(self._gfm(vit, timed), method, options, card, context)
            self.models[key] = time_model(model, card, context)
        return self.models[key]

    def _head(self, vit: GFMCard, card: StoreCard, settings: TrainSettings) -> tuple[Cost, float]:
        """The cost of a task's head, and bytes of its input per image."""
        timed = _timed(settings)
        key = (vit, timed, card.task)
        if key not in self.heads:
            self.told(f"{vit.name} {card.task}")
            context = Context(timed, device=self.device)
            model = build_model(self._gfm(vit, timed), "frozen", {}, card, context)
            self.heads[key] = time_head(model, card, context)
        return self.heads[key]

    def _any(self, task: str) -> StoreCard:
        """The first dataset, as one of ``task``; the number of classes hardly matters."""
        card = next(iter(self.cards.values()))
        return StoreCard(**(vars(card) | {"task": task}))

    def _gfm(self, vit: GFMCard, settings: TrainSettings) -> Any:
        """The GFM with random weights; only the last one is kept."""
        key = (vit, settings.image_size)
        if self.last[0] != key:
            architecture = vit.architecture | {"depth": self._depth(vit)}
            self.last = (key, build(replace(vit, architecture=architecture), settings.image_size))
        return self.last[1]

    def _depth(self, vit: GFMCard) -> int:
        """Blocks of the GFM that is timed."""
        depth = vit.architecture["depth"]
        return min(depth, BLOCKS) if self.device.type == "cpu" else depth


def planned_cards(study: Study) -> dict[str, StoreCard]:
    """The card of each prepared dataset, or what it will have; without own datasets that are not prepared yet."""
    return dict(_cards(study))


def _cards(study: Study) -> Iterator[tuple[str, StoreCard]]:
    for name in study.datasets:
        if (study.prepared(name) / CARD).is_file():
            yield name, read_card(study.prepared(name))
        elif name in DATASETS:
            sheet = AS_PUBLISHED[name] if name in study.as_published else dataset_sheet(name)
            given = study.simulation["sizes"][name] if study.simulated else {}
            yield (
                name,
                StoreCard(
                    name=name,
                    task=sheet.task,
                    bands=sheet.bands,
                    classes=sheet.classes,
                    image_size=given.get("pixels") or sheet.image_size,
                    gsd=sheet.gsd,
                    scale=sheet.scale,
                    metric=sheet.metric,
                    splits={split: {"n": given.get(split, n)} for split, n in sheet.splits.items()},
                    statistics=BandStatistics((0.2,) * len(sheet.bands), (0.1,) * len(sheet.bands)),
                    simulated=study.simulated,
                    source="catalog",
                    target=(0.0, 1.0) if sheet.task in REGRESSIONS else None,
                ),
            )


def _timed(settings: TrainSettings) -> TrainSettings:
    """The settings on which the time of a step depends; the others as in the defaults."""
    names = ("image_size", "batch_size", "precision", "gradient_checkpointing", "upernet_channels", "eval_batch_size")
    return TrainSettings(**{name: getattr(settings, name) for name in names})


@cache
def _bare(method: str, settings: str, vit: GFMCard) -> AdaptedGFM:
    """The adapted GFM without memory; ``settings`` are JSON, because the cache compares them."""
    return model_of(vit, method, json.loads(settings))
