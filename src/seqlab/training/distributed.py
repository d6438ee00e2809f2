"""Data-parallel training under `torchrun`, without a wrapper around the model.

Each process takes its slice of the global batch; gradients are summed in one flat buffer per
dtype and divided by the summed weight, so the update is that of one process with the whole batch.
The model is not wrapped: parameter names are the same in every checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from seqlab.errors import UserError

# Rank 0 evaluates and writes alone while the others wait in a collective.
_PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class World:
    """The processes that train one model together; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def leader(self) -> bool:
        """Whether this process evaluates and writes."""
        return self.rank == 0

    def sum_(self, values: Tensor) -> Tensor:
        """Replace `values` by their sum over the processes."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace each gradient by its sum over the processes.

        Every process must have gradients for the same parameters, in the same order.
        """
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_dtype.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_dtype.values():
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, piece in zip(gradients, pieces, strict=True):
                gradient.copy_(piece.view_as(gradient))

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Overwrite `tensors` with those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    def broadcast_object(self, value: Any) -> Any:
        """Return rank 0's `value` (picklable, from our own processes only)."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def launched_world(device: str) -> Iterator[World]:
    """Join the processes that `torchrun` launched, or be alone.

    Args:
        device: `cpu` (gloo) or `cuda` (nccl; each process gets the GPU of its local rank).
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield World(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def slices(batch: Any, world: World, accumulation: int) -> list[Any]:
    """Cut this process's micro-batches out of the global batch.

    Args:
        batch: A tensor, or tuples, lists and dicts of tensors, whose first axis is the global
            batch.
        world: This process among its peers.
        accumulation: Micro-batches per process.

    Returns:
        `accumulation` batches of the same structure (views), each with
        B / (world.size * accumulation) rows.

    Raises:
        UserError: The rows cannot be shared out evenly.
    """
    parts = world.size * accumulation
    rows = row_count(batch)
    if rows % parts:
        raise UserError(
            f"a batch of {rows} cannot be cut into {world.size} processes x {accumulation} "
            "micro-batches",
            fix="make the batch a multiple of processes x accumulation",
        )
    share = rows // parts
    first = world.rank * accumulation
    return [
        _map(batch, slice(share * part, share * (part + 1)))
        for part in range(first, first + accumulation)
    ]


def row_count(batch: Any) -> int:
    """Return the length of the first axis of the first tensor in `batch`."""
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
    return batch.shape[0]


def to_device(batch: Any, device: torch.device) -> Any:
    """Return `batch` with every tensor on `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: to_device(value, device) for key, value in batch.items()}
    return type(batch)(to_device(value, device) for value in batch)


def _map(batch: Any, rows: slice) -> Any:
    if isinstance(batch, Tensor):
        return batch[rows]
    if isinstance(batch, dict):
        return {key: _map(value, rows) for key, value in batch.items()}
    return type(batch)(_map(value, rows) for value in batch)
