"""AdamW with parameter groups, clipping, and the learning rate of each step."""

from __future__ import annotations

import inspect
import re
from typing import Any

import torch
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.training.spec import GroupSpec, TrainSpec

# Mamba's state matrix and skip: A_log is a matrix in shape only (decay would pull A to -1), as is
# RWKV-7's bonus.
_NEVER_DECAYED = re.compile(r"(^|\.)(A_log|D|dt_bias|r_k)$")


class _UntracedAdamW(torch.optim.AdamW):
    """AdamW without the guards that keep the tracer of torch.compile out of it.

    They import that tracer first: 1.2 s of every training process. Only models are compiled here,
    and none of them calls its optimiser.
    """

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    state_dict = inspect.unwrap(torch.optim.Optimizer.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.Optimizer.load_state_dict)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters by their gradients."""
        inspect.unwrap(torch.optim.AdamW.step)(self, closure)


def decays(name: str, parameter: nn.Parameter, embeddings: set[int]) -> bool:
    """Whether weight decay applies: matrices only, and none marked `_no_weight_decay`.

    Args:
        name: The parameter's dotted name.
        parameter: The parameter.
        embeddings: `id` of the weights of embedding layers, which do not decay.
    """
    if getattr(parameter, "_no_weight_decay", False) or parameter.ndim < 2:
        return False
    return id(parameter) not in embeddings and not _NEVER_DECAYED.search(name)


def parameter_groups(model: nn.Module, spec: TrainSpec) -> list[dict[str, Any]]:
    """Sort the trainable parameters of `model` into optimiser groups.

    Each group holds `params`, `names`, `peak_lr`, `weight_decay`, `eps` and `clipped`. Groups with
    the same settings are one, so that the optimiser makes few, large updates.

    Raises:
        UserError: Nothing is trainable, or a group of the settings matches no parameter.
    """
    embeddings = {
        id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)
    }
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    unused = {group.match for group in spec.groups}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        own = next((group for group in spec.groups if re.search(group.match, name)), None)
        if own is not None:
            unused.discard(own.match)
        values = _values(spec, own, decays(name, parameter, embeddings))
        group = groups.setdefault(tuple(values.values()), {"params": [], "names": [], **values})
        group["params"].append(parameter)
        group["names"].append(name)
    if not groups:
        raise UserError("no parameter is trainable", fix="set requires_grad on what to train")
    if unused:
        raise UserError(
            f"train.groups: {sorted(unused)[0]!r} matches no trainable parameter that an earlier "
            "group has not taken",
            fix="correct the pattern or remove the group",
        )
    return list(groups.values())


def _values(spec: TrainSpec, own: GroupSpec | None, decayed: bool) -> dict[str, Any]:
    own = own or GroupSpec(match="")
    decay = own.weight_decay if own.weight_decay is not None else spec.weight_decay * decayed
    return {
        "peak_lr": own.lr or spec.lr,
        "weight_decay": decay,
        "eps": own.eps or spec.eps,
        "clipped": own.clipped,
    }


def adamw(groups: list[dict[str, Any]], spec: TrainSpec) -> torch.optim.AdamW:
    """Build AdamW (Loshchilov and Hutter 2019) over `groups`, in torch's fused form.

    One fused kernel reads each tensor once; on CPU that is several times cheaper than the
    tensor-by-tensor form, and its element-wise arithmetic does not depend on the thread count.
    """
    return _UntracedAdamW(
        [{"lr": group["peak_lr"], **group} for group in groups], betas=spec.betas, fused=True
    )


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set each group's learning rate to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak_lr"]


def clip_gradients(optimizer: torch.optim.Optimizer, limit: float | None) -> Tensor:
    """Scale the gradients of the clipped groups to a global norm of at most `limit`.

    Returns:
        The norm before clipping, a scalar on the parameters' device.
    """
    clipped = [
        parameter
        for group in optimizer.param_groups
        if group["clipped"]
        for parameter in group["params"]
        if parameter.grad is not None
    ]
    if not clipped:
        return torch.zeros(())
    norm = nn.utils.get_total_norm([parameter.grad for parameter in clipped])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(clipped, limit, norm)
    return norm
