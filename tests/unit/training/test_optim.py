"""Parameter groups, AdamW and clipping."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from seqlab.errors import UserError
from seqlab.training import optim
from seqlab.training.spec import GroupSpec, TrainSpec


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.mix = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.A_log = nn.Parameter(torch.zeros(4, 2))
        self.D = nn.Parameter(torch.ones(4, 1))
        self.gate = nn.Parameter(torch.zeros(4, 4))
        self.kept = nn.Parameter(torch.zeros(4, 4))
        self.kept._no_weight_decay = True
        self.frozen = nn.Parameter(torch.zeros(4, 4), requires_grad=False)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight


def by_name(groups: list[dict]) -> dict[str, dict]:
    return {name: group for group in groups for name in group["names"]}


def test_only_matrices_decay_and_each_parameter_is_in_one_group() -> None:
    model = Toy()
    groups = optim.parameter_groups(model, TrainSpec(steps=1, lr=0.1, weight_decay=0.3))
    found = by_name(groups)
    decayed = {name for name, group in found.items() if group["weight_decay"]}
    assert decayed == {"mix.weight", "gate"}
    assert set(found) == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert "frozen" not in found and "head.weight" not in found
    assert len(groups) == 2


def test_own_settings_of_a_group_win_and_the_first_match_counts() -> None:
    spec = TrainSpec(
        steps=1,
        lr=0.1,
        weight_decay=0.3,
        groups=(
            GroupSpec(match=r"^gate$", lr=0.02, weight_decay=0.0, eps=1e-6, clipped=False),
            GroupSpec(match=r"gate|norm", lr=0.5),
        ),
    )
    found = by_name(optim.parameter_groups(Toy(), spec))
    gate, norm = found["gate"], found["norm.weight"]
    assert (gate["peak_lr"], gate["weight_decay"], gate["eps"], gate["clipped"]) == (
        0.02,
        0.0,
        1e-6,
        False,
    )
    assert (norm["peak_lr"], norm["weight_decay"], norm["clipped"]) == (0.5, 0.0, True)


def test_a_pattern_without_parameters_and_a_frozen_model_are_errors() -> None:
    spec = TrainSpec(steps=1, lr=0.1, groups=(GroupSpec(match="gaet"),))
    with pytest.raises(UserError, match="'gaet' matches no trainable parameter"):
        optim.parameter_groups(Toy(), spec)
    with pytest.raises(UserError, match="no parameter is trainable"):
        optim.parameter_groups(Toy().requires_grad_(False), TrainSpec(steps=1, lr=0.1))


def test_adamw_follows_the_formula() -> None:
    """Loshchilov and Hutter 2019, algorithm 2, in float64 with numpy-like steps."""
    lr, decay, eps, (b1, b2) = 0.05, 0.2, 1e-3, (0.8, 0.9)
    spec = TrainSpec(steps=5, lr=lr, weight_decay=decay, eps=eps, betas=(b1, b2))
    model = nn.Linear(3, 2, bias=False).double()
    expected = model.weight.detach().clone()
    first = torch.zeros_like(expected)
    second = torch.zeros_like(expected)
    optimizer = optim.adamw(optim.parameter_groups(model, spec), spec)
    generator = torch.Generator().manual_seed(0)
    for count in range(1, 6):
        gradient = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        model.weight.grad = gradient.clone()
        optim.set_lr(optimizer, 0.5)
        optimizer.step()
        expected *= 1 - 0.5 * lr * decay
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        step = first / (1 - b1**count) / ((second / (1 - b2**count)).sqrt() + eps)
        expected -= 0.5 * lr * step
    torch.testing.assert_close(model.weight.detach(), expected, rtol=1e-12, atol=1e-14)


def test_clipping_is_over_the_clipped_groups_only() -> None:
    model = Toy()
    spec = TrainSpec(steps=1, lr=0.1, groups=(GroupSpec(match="^gate$", clipped=False),))
    optimizer = optim.adamw(optim.parameter_groups(model, spec), spec)
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
    before = copy.deepcopy({name: p.grad for name, p in model.named_parameters()})
    norm = optim.clip_gradients(optimizer, 0.5)
    rest = [g for name, g in before.items() if g is not None and name != "gate"]
    expected = torch.cat([g.flatten() for g in rest]).norm()
    torch.testing.assert_close(norm, expected)
    after = {name: p.grad for name, p in model.named_parameters()}
    assert torch.equal(after["gate"], before["gate"])
    torch.testing.assert_close(after["mix.weight"], before["mix.weight"] * 0.5 / expected)
    assert optim.clip_gradients(optimizer, None) == pytest.approx(0.5, rel=1e-4)


def test_training_steps_load_no_tracer() -> None:
    # Of a process of its own: another test may have compiled something.
    done = subprocess.run(
        [sys.executable, "-c", _TRAINS],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[3],
    )
    assert done.returncode == 0, done.stderr


_TRAINS = """
import sys
import torch
from seqlab.training import optim
from seqlab.training.spec import TrainSpec
model, spec = torch.nn.Linear(3, 2), TrainSpec(steps=2, seed=0, lr=0.1)
optimizer = optim.adamw(optim.parameter_groups(model, spec), spec)
before = model.weight.detach().clone()
model(torch.ones(1, 3)).sum().backward()
optimizer.step()
optimizer.zero_grad(set_to_none=True)
optimizer.load_state_dict(optimizer.state_dict())
assert not torch.equal(before, model.weight)
assert "torch._dynamo" not in sys.modules
# What compiles a model still finds the tracer.
compiled = torch.compile(model, backend="eager")
assert torch.equal(compiled(torch.ones(1, 3)), model(torch.ones(1, 3)))
optimizer.step()
"""
