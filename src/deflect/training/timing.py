"""Time, memory and power of training steps and predictions on this machine, with random weights and random images.

Encoder and head are timed apart, because every method has the same head. Methods of one cost class take the same time:
those whose models have layers of the same types and train none, a part or most of the encoder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from deflect.data.card import label_shape
from deflect.data.store import StoreCard
from deflect.methods.base import AdaptedGFM
from deflect.settings import PIXEL_TASKS
from deflect.training.batches import Inputs
from deflect.training.context import Context
from deflect.training.energy import Stopwatch
from deflect.training.loop import batch_loss, build_optimizer
from deflect.training.loss import Loss
from deflect.training.model import TaskModel

#: A model whose step with two images takes longer (seconds) is timed with two images, others with a whole batch.
SLOW, FEW = 0.1, 2
#: Each action is repeated up to 10 times, for this long (seconds), and at least once. The shortest time counts, as in
#: `timeit`: other programs on the machine make the others longer.
REPEATS, LONG_ENOUGH = 10, 0.5


@dataclass(frozen=True)
class Cost:
    """Cost of a model, or of its head alone.

    gradients, predict: seconds per image, forward and backward, and without gradients.
    update: seconds of the optimiser per step.
    activations, casts: bytes that a step keeps for its backward pass, per image, and per step (weights in bf16).
    joules, seconds: energy and time of all that was timed.
    """

    gradients: float
    predict: float
    update: float
    activations: float
    casts: float
    joules: float
    seconds: float


def cost_class(model: AdaptedGFM) -> tuple[Any, ...]:
    """Two methods with the same class take the same time per step; the model may be on the meta device."""
    tuned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    part = "none" if not tuned else "part" if tuned < model.gfm_params / 2 else "most"
    return type(model), frozenset(type(module).__name__ for module in model.modules()), part


def time_model(model: TaskModel, card: StoreCard, context: Context) -> Cost:
    """The cost of a whole model on images of ``card``'s bands."""
    size = context.settings.image_size

    def images(n: int) -> Tensor:
        return torch.rand(n, len(card.bands), size, size, device=context.device) * 0.3

    model.adapted.calibrate([images(FEW)])
    return _time(model, images, card, context)


def time_head(model: TaskModel, card: StoreCard, context: Context) -> tuple[Cost, float]:
    """The cost of the head alone, and bytes of its input per image."""
    size = context.settings.image_size
    with torch.inference_mode(), context.autocast():
        one = model.eval().features(torch.rand(1, len(card.bands), size, size, device=context.device) * 0.3)

    def features(n: int) -> list[Tensor]:
        return [torch.rand(n, *each.shape[1:], device=each.device).to(each.dtype).requires_grad_() for each in one]

    return _time(model, features, card, context), sum(each.nbytes for each in one)


def _time(model: TaskModel, inputs: Callable[[int], Inputs], card: StoreCard, context: Context) -> Cost:
    settings, size = context.settings, context.settings.image_size
    optimizer = build_optimizer(model, settings) if any(p.requires_grad for p in model.parameters()) else None
    output = (size, size) if card.task in PIXEL_TASKS else None
    shape = label_shape(card.task, len(card.classes), size)
    highest = 2 if card.task == "multilabel" else len(card.classes)
    loss = Loss.of(card)

    def labels(n: int) -> Tensor:
        return torch.randint(highest, (n, *shape), device=context.device)

    def update() -> None:
        if optimizer:
            optimizer.step()

    def gradients(given: Inputs, truth: Tensor) -> None:
        batch_loss(model, model, given, truth, context, loss).backward()
        _wait(context.device)

    def predict(given: Inputs) -> None:
        with torch.inference_mode(), context.autocast():
            model(given, output)

    watch = Stopwatch(context.device)
    model.train()
    one, few = ((inputs(n), labels(n)) for n in (1, FEW))
    of_one = _kept(model, lambda: gradients(*one))  # also loads the device's libraries
    began = time.perf_counter()
    of_few = _kept(model, lambda: gradients(*few))
    activations = (of_few - of_one) / (FEW - 1)
    few_s = time.perf_counter() - began
    if few_s < LONG_ENOUGH:
        few_s = _seconds(lambda: gradients(*few), context.device)
    quick = few_s < SLOW
    train, test = (settings.batch_size, settings.eval_batch_size) if quick else (FEW, FEW)
    batch, tested = (inputs(train), labels(train)) if quick else few, inputs(test)
    gradient_s = _seconds(lambda: gradients(*batch), context.device) / train if quick else few_s / FEW
    update_s = _seconds(update, context.device)
    model.eval()
    predict_s = _seconds(lambda: predict(tested), context.device) / test
    model.zero_grad(set_to_none=True)
    seconds, joules = watch.lap()
    return Cost(gradient_s, predict_s, update_s, activations, of_one - activations, joules, seconds)


def _seconds(action: Callable[[], None], device: torch.device) -> float:
    """Seconds of an action; the first call counts only if it is a long one."""
    times: list[float] = []
    while sum(times) < LONG_ENOUGH and len(times) < REPEATS:
        began = time.perf_counter()
        action()
        _wait(device)
        times.append(time.perf_counter() - began)
    return min(times)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _kept(model: TaskModel, action: Callable[[], None]) -> int:
    """Bytes that a step keeps for its backward pass, without parameters."""
    known = {value.untyped_storage().data_ptr() for value in model.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(count, lambda tensor: tensor):
        action()
    return sum(size for place, size in kept.items() if place not in known)


def power(costs: list[Cost]) -> float:
    """Watts while the costs were measured; NaN where the energy is not known."""
    return (
        sum(cost.joules for cost in costs) / seconds if (seconds := sum(cost.seconds for cost in costs)) else math.nan
    )
