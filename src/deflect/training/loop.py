"""The training loop, by the paper's protocol (section 4).

AdamW; the learning rate falls by ``gamma`` at 60 % and 90 % of the iterations, without warm-up; the loss of the task
plus that of the method; the weights that ``selection`` chooses, by default those with the best validation score, are
kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from deflect.errors import ConfigError, ModelError
from deflect.settings import REGRESSIONS
from deflect.settings.training import TrainSettings
from deflect.training.batches import Batches, Inputs, batch_starts, training_batches
from deflect.training.checkpoint import Checkpoint
from deflect.training.context import Context
from deflect.training.energy import Stopwatch
from deflect.training.loss import Loss
from deflect.training.model import TaskModel
from deflect.training.scoring import score


@dataclass
class Fit:
    """Progress and results of training.

    ``history`` has one row per epoch: epoch (from 1), lr, train_loss, val_loss, val_score, seconds; NaN without
    validation. ``best`` is the state of the model after ``best_epoch`` (0: untrained), ``val`` its validation metrics,
    ``best_value`` what ``selection`` compares. ``joules`` is NaN where the device has no counter.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_value: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    val: dict[str, Any] = field(default_factory=dict)
    step_s: float = 0.0
    steps: int = 0
    joules: float = 0.0


def fit(
    model: TaskModel,
    train: Batches,
    val: Batches,
    context: Context,
    checkpoint: Checkpoint,
    log: Callable[[dict[str, float]], None],
) -> Fit:
    """Train ``model`` on ``train``, from the checkpoint if there is one; ``log`` is called with each row of history.

    Raises:
        ModelError: the loss of an epoch is not finite, or the model has no trainable parameter.
        ConfigError: the settings are not for the task.
    """
    settings, task = context.settings, train.card.task
    if settings.selection == "accuracy" and task in REGRESSIONS:
        raise ConfigError(f"{train.card.name}: training.selection: a {task} has no accuracy; use score or last")
    loss = Loss.training(train, settings, context.device)
    fewest = min(settings.batch_size, len(train))
    if fewest < context.ranks.world:
        raise ModelError(
            f"expected at least one image per process in a batch, found {fewest} for {context.ranks.world} processes:"
            " raise training.batch_size or start fewer processes"
        )
    optimizer = build_optimizer(model, settings)
    scaler = torch.amp.GradScaler(context.device.type, enabled=settings.precision == "fp16")
    now = Fit()
    if saved := checkpoint.load():
        model.load_state(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        scaler.load_state_dict(saved["scaler"])
        now = Fit(**saved["fit"])
    parallel = context.ranks.wrap(model, context.device)

    watch = Stopwatch(context.device)

    def validate(epoch: int) -> dict[str, float]:
        """Score the validation split and keep the model's state if it is the best one."""
        context.ranks.share_buffers(model)
        result = score(model, val, context)
        result.check(f"epoch {epoch}, validation")
        accuracy = result.metrics.get("accuracy", math.nan)  # none of a regression
        value = {"score": result.score, "accuracy": accuracy, "last": epoch}[settings.selection]
        if value > now.best_value:
            now.best_epoch, now.best_value, now.best, now.val = epoch, value, model.state(), result.metrics
        return {"val_loss": result.metrics["loss"], "val_score": result.score}

    if settings.validate_untrained and not now.history:
        validate(0)
    for epoch in range(len(now.history), settings.epochs):
        began = time.perf_counter()
        train_loss = train_epoch(parallel, model, train, epoch, optimizer, scaler, context, loss)
        now.step_s += time.perf_counter() - began
        now.steps += len(batch_starts(len(train), context))
        if not math.isfinite(train_loss):
            raise ModelError(
                f"epoch {epoch + 1}: expected a finite training loss, found {train_loss}; lower training.lr"
                f" (now {settings.lr:g}) or choose another training.precision (now {settings.precision})"
            )
        row = {"epoch": epoch + 1, "lr": optimizer.param_groups[0]["lr"], "train_loss": train_loss}
        due = (epoch + 1) % settings.validate_every == 0 or epoch + 1 == settings.epochs
        row |= validate(epoch + 1) if due else {"val_loss": math.nan, "val_score": math.nan}
        seconds, joules = watch.lap()
        now.joules += joules
        now.history.append(row | {"seconds": seconds})
        log(now.history[-1])
        if context.ranks.first and checkpoint.due(epoch):
            parts = {"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(), "fit": dict(vars(now))}
            checkpoint.save(parts | {"model": model.state()})
    return now


def build_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW over every trainable parameter; fused, which is the fastest on the CPU too."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ModelError("nothing to train: neither the encoder nor the head has a trainable parameter")
    return torch.optim.AdamW(
        parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def learning_rate(settings: TrainSettings, step: int, steps: int) -> float:
    """The rate at ``step`` of the ``steps`` of the whole training."""
    passed = sum(step >= int(milestone * steps) for milestone in settings.milestones)
    return settings.lr * settings.gamma**passed


def train_epoch(
    parallel: nn.Module,
    model: TaskModel,
    split: Batches,
    epoch: int,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    context: Context,
    loss_of: Loss,
) -> float:
    """One pass over the training split; returns the mean loss of its batches."""
    # For dropout. A new seed in every epoch gives a resumed run the same numbers.
    torch.manual_seed((context.seed * 1_000_003 + epoch) * 1009 + context.ranks.rank)
    model.train()
    steps = len(batch_starts(len(split), context))
    total = torch.zeros((), device=context.device)
    with context.bar(f"epoch {epoch + 1}", steps, "steps") as shown:
        for i, (inputs, labels) in enumerate(training_batches(split, epoch, context)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(context.settings, epoch * steps + i, context.settings.epochs * steps)
            loss = batch_loss(parallel, model, inputs, labels, context, loss_of)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
            shown.update()
    context.ranks.sum_(total)
    return total.item() / context.ranks.world / steps  # item() waits for the device, as timing needs


def batch_loss(
    parallel: nn.Module, model: TaskModel, inputs: Inputs, labels: Tensor, context: Context, loss_of: Loss
) -> Tensor:
    """Mean loss over a batch's labels, plus the loss of the method."""
    with context.autocast():
        logits = parallel(inputs, labels.shape[-2:] if labels.ndim == 3 else None)
        total, labelled = loss_of(logits, labels)
        labelled = labelled.float()
        # Gradients are averaged over the processes, so each divides by the labels of all and multiplies by ``world``.
        context.ranks.sum_(labelled)
        return total * (context.ranks.world / labelled.where(labelled > 0, 1)) + model.adapted.extra_loss()
