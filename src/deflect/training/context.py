"""What every step of a run needs to know: how to train, from which seed, on which device, among which processes.

Several devices work through ``torch.distributed``: start ``torchrun --nproc-per-node 4 -m deflect train ...``. Each
process takes every ``world``-th image of a batch, gradients are averaged by ``DistributedDataParallel``, and rank 0
alone writes files. Without torchrun all of this is a single process.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from deflect.data.disk import lock
from deflect.errors import DeflectError
from deflect.progress import bar
from deflect.settings.training import TrainSettings

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Ranks:
    """This process among the ``world`` that train one model."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Sum ``tensor`` over all processes, in place."""
        if self.world > 1:
            dist.all_reduce(tensor)

    def share_buffers(self, model: nn.Module) -> None:
        """Give every process the batch statistics of the first, whose weights are the ones that are saved."""
        if self.world > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.world > 1:
            dist.barrier()

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The module whose forward and backward passes keep the processes' gradients equal."""
        if self.world == 1:
            return model
        if device.type == "cuda":  # batch statistics of the head over the whole batch; it exists for CUDA only
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        # Some weights of a fully tuned GFM are behind the last tap and get no gradient.
        devices = [device] if device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, devices, find_unused_parameters=True)


@dataclass(frozen=True)
class Context:
    """The settings of a run and its place: ``rank`` of ``world`` processes, each with its own ``device``."""

    settings: TrainSettings
    seed: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    ranks: Ranks = Ranks()

    def autocast(self) -> AbstractContextManager[Any]:
        """Run the forward pass in the precision of the settings."""
        precision = self.settings.precision
        return torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "float32")

    def bar(self, what: str, total: int, unit: str) -> Any:
        """Progress, shown by the first of several processes."""
        return bar(what, total, unit=unit, show=None if self.ranks.first else False)

    @property
    def alone(self) -> Context:
        """The same place seen as a single process, for work that every process does in full."""
        return Context(self.settings, self.seed, self.device)


def choose_device(name: str) -> torch.device:
    """The device called ``name``; "auto" is this process's GPU where there is one.

    Raises:
        DeflectError: CUDA was asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if name.startswith("cuda") and not cuda:
        raise DeflectError(f"device: {name!r} asked for but torch finds no CUDA device; use device: auto or cpu")
    if name == "auto":
        name = "cuda" if cuda else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
    return torch.device(name)


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def run_lock(out: Path) -> AbstractContextManager[None]:
    """Let one start at a time work on the run in ``out``; the first of several processes takes the lock for all."""
    return lock(out.parent, out.name) if int(os.environ.get("RANK", 0)) == 0 else nullcontext()


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started; a single process without it."""
    if world_size() == 1:
        yield Ranks()
        return
    if not dist.is_initialized():  # once per process: a second group would find the addresses of the first in the store
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    yield Ranks(dist.get_rank(), dist.get_world_size())
