"""The context of a run: training settings, seed, device and processes.

Several devices train one model with ``torchrun --nproc-per-node 4 -m deflect train ...``. Each process takes every
``world``-th image of a batch, ``DistributedDataParallel`` averages the gradients, and only rank 0 writes files.
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
from deflect.training.gpus import free_gpu

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Ranks:
    """The rank of this process among the ``world`` processes that train one model."""

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
        """Copy the batch statistics of the first process, which saves the weights, to the others."""
        if self.world > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def wait(self) -> None:
        if self.world > 1:
            dist.barrier()

    def wrap(self, model: nn.Module, device: torch.device) -> nn.Module:
        """The module with gradients averaged over the processes."""
        if self.world == 1:
            return model
        if device.type == "cuda":  # batch statistics over the whole batch; only for CUDA
            model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        devices = [device] if device.type == "cuda" else None
        # In full fine-tuning the weights behind the last tap get no gradient.
        return nn.parallel.DistributedDataParallel(model, devices, find_unused_parameters=True)


@dataclass(frozen=True)
class Context:
    """Training settings, seed, device and processes of a run."""

    settings: TrainSettings
    seed: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009 (immutable)
    ranks: Ranks = Ranks()

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the forward pass."""
        precision = self.settings.precision
        return torch.autocast(self.device.type, DTYPES[precision], enabled=precision != "float32")

    def bar(self, what: str, total: int, unit: str) -> Any:
        """Progress, shown by the first of several processes."""
        return bar(what, total, unit=unit, show=None if self.ranks.first else False)

    @property
    def alone(self) -> Context:
        """The same as a single process, for work that every process does in full."""
        return Context(self.settings, self.seed, self.device)


def choose_device(name: str) -> torch.device:
    """The device called ``name``; "auto" is a GPU, or the CPU if there is none.

    Of several GPUs, "auto" and "cuda" are the process's own one of ``torchrun``, or else the least taken.

    Raises:
        DeflectError: there is no CUDA device.
    """
    cuda = torch.cuda.is_available()
    if name.startswith("cuda") and not cuda:
        raise DeflectError(f"device: {name!r} asked for but torch finds no CUDA device; use device: auto or cpu")
    if name == "auto":
        name = "cuda" if cuda else "cpu"
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK') or free_gpu()}"
    return torch.device(name)


def world_size() -> int:
    """Number of processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


def run_lock(out: Path) -> AbstractContextManager[None]:
    """Lock the run in ``out`` against other commands; the first of several processes locks it for all."""
    return lock(out.parent, out.name) if int(os.environ.get("RANK", 0)) == 0 else nullcontext()


@contextmanager
def process_group(device: torch.device) -> Iterator[Ranks]:
    """Join the processes that torchrun started."""
    if world_size() == 1:
        yield Ranks()
        return
    if not dist.is_initialized():  # once per process: a second group would read the addresses of the first
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    yield Ranks(dist.get_rank(), dist.get_world_size())
