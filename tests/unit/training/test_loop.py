"""The loop against hand-written training, early stopping, hooks, accumulation, precision."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqlab.errors import UserError
from seqlab.training.callbacks import Callback, Progress, StopAtTarget
from seqlab.training.loop import Diverged, Job, train
from seqlab.training.losses import Loss
from seqlab.training.spec import GroupSpec, TrainSpec

Batch = tuple[Tensor, Tensor]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.drop = nn.Dropout(0.2)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x + self.drop(torch.tanh(self.linear(x)))


class Net(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.blocks = nn.ModuleList([Block(), Block()])
            self.head = nn.Linear(6, 3)
        for block in self.blocks:
            block.drop.p = dropout

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def batch_at(step: int) -> Batch:
    generator = torch.Generator().manual_seed(1000 + step)
    x = torch.randn(8, 6, generator=generator)
    return x, x[:, :3].argmax(dim=1)


def loss_fn(model: nn.Module, batch: Batch, _step: int) -> Loss:
    x, y = batch
    logits = model(x)
    accuracy = (logits.argmax(1) == y).float().mean()
    return Loss(F.cross_entropy(logits.float(), y), terms={"accuracy": accuracy})


def evaluate(model: nn.Module) -> dict[str, float]:
    assert not model.training
    x, y = batch_at(10**6)
    return {"loss": F.cross_entropy(model(x), y).item()}


def weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten().clone() for p in model.parameters()])


def test_a_run_is_the_textbook_loop_bit_for_bit() -> None:
    spec = TrainSpec(steps=12, lr=0.01, weight_decay=0.0, warmup_steps=3, clip=0.5, lr_floor=0.1)
    model, oracle = Net(), Net()
    result = train(model, spec, Job(batch_at, loss_fn))
    optimizer = torch.optim.AdamW(
        oracle.parameters(), lr=0.01, betas=(0.9, 0.98), weight_decay=0.0, fused=True
    )
    losses = []
    for step in range(12):
        if step < 3:
            factor = (step + 1) / 3
        else:
            factor = 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (step - 3) / 9))
        optimizer.param_groups[0]["lr"] = 0.01 * factor
        x, y = batch_at(step)
        loss = F.cross_entropy(oracle(x), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(oracle.parameters(), 0.5)
        optimizer.step()
    assert result.curve["loss"].tolist() == losses
    torch.testing.assert_close(weights(model), weights(oracle), rtol=1e-6, atol=1e-7)
    assert (result.steps, result.stopped) == (12, "budget")
    assert set(result.curve.names) == {"step", "loss", "accuracy", "lr", "grad_norm"}
    assert result.curve["step"].tolist() == list(range(12))


def test_accumulation_changes_nothing_but_rounding() -> None:
    """Also with unequal weights: the mean is over units, not over micro-batches."""

    def masked(model: nn.Module, batch: Batch, _step: int) -> Loss:
        x, y = batch
        kept = x[:, 0] > -0.5
        total = F.cross_entropy(model(x)[kept], y[kept])
        return Loss(total, weight=kept.sum())

    curves, ends = [], []
    for accumulation in (1, 2, 4):
        model = Net()
        spec = TrainSpec(steps=6, lr=0.01, accumulation=accumulation)
        curves.append(train(model, spec, Job(batch_at, masked)).curve["loss"])
        ends.append(weights(model))
    for curve, end in zip(curves[1:], ends[1:], strict=True):
        np.testing.assert_allclose(curve, curves[0], rtol=2e-6)
        torch.testing.assert_close(end, ends[0], rtol=1e-4, atol=1e-5)


def test_noise_is_a_function_of_seed_and_step_not_of_the_callers_generator() -> None:
    ends = []
    for outside, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(outside)
        before = torch.get_rng_state()
        model = Net(dropout=0.5)
        train(model, TrainSpec(steps=4, lr=0.01, seed=seed), Job(batch_at, loss_fn))
        assert torch.equal(torch.get_rng_state(), before)
        ends.append(weights(model))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_gradient_checkpointing_gives_the_same_weights_with_dropout() -> None:
    ends, calls = [], []
    for recompute in (False, True):
        model = Net(dropout=0.5)
        spec = TrainSpec(steps=4, lr=0.01, gradient_checkpointing=recompute)
        train(model, spec, Job(batch_at, loss_fn))
        ends.append(weights(model))
        calls.append(model.blocks[0].calls)
        assert "forward" not in vars(model.blocks[0])
    assert torch.equal(ends[0], ends[1])
    assert calls == [4, 8]
    with pytest.raises(UserError, match="Linear has no list of blocks"):
        train(nn.Linear(6, 3), spec, Job(batch_at, loss_fn))


def test_bf16_keeps_fp32_weights_and_stays_near_fp32() -> None:
    losses = {}
    for precision in ("fp32", "bf16"):
        model = Net()
        spec = TrainSpec(steps=8, lr=0.01, precision=precision)
        losses[precision] = train(model, spec, Job(batch_at, loss_fn)).curve["loss"]
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not np.array_equal(losses["fp32"], losses["bf16"])
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], rtol=0.03)


def test_compiled_training_calls_the_compiled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the backend that compiles nothing: the graph is captured, the code is not generated."""
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend="eager"))
    seen = []

    def spying(model: nn.Module, batch: Batch, step: int) -> Loss:
        seen.append(type(model).__name__)
        return loss_fn(model, batch, step)

    plain, model = Net(), Net()
    spec = TrainSpec(steps=3, lr=0.01)
    train(plain, spec, Job(batch_at, loss_fn))
    train(model, spec.model_copy(update={"compile": True}), Job(batch_at, spying))
    assert set(seen) == {"OptimizedModule"}
    torch.testing.assert_close(weights(model), weights(plain))
    assert list(model.state_dict()) == list(plain.state_dict())


class Scripted:
    """An evaluation that returns given values and keeps the weights it saw."""

    def __init__(self, values: list[float]) -> None:
        self.values = values
        self.seen: list[Tensor] = []

    def __call__(self, model: nn.Module) -> dict[str, float]:
        self.seen.append(weights(model))
        return {"accuracy": self.values[len(self.seen) - 1]}


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "best", "stopped", "count"),
    [
        ([0.1, 0.5, 0.4, 0.5, 0.3], 3, 0.0, 1, "patience", 5),  # a tie keeps the earlier
        ([0.1, 0.5, 0.4, 0.45, 0.6], 3, 0.0, 4, "budget", 5),
        ([0.50, 0.54, 0.58, 0.1, 0.1], 2, 0.05, 2, "patience", 5),
        ([float("nan"), float("nan"), 0.9, 0.9, 0.9], 2, 0.0, None, "patience", 2),
        ([float("nan"), 0.2, 0.1, float("nan"), 0.9], 2, 0.0, 1, "patience", 4),
    ],
)
def test_early_stopping_keeps_a_copy_of_the_best(
    values: list[float],
    patience: int,
    min_delta: float,
    best: int | None,
    stopped: str,
    count: int,
) -> None:
    spec = TrainSpec(
        steps=10,
        lr=0.05,
        evaluate_every=2,
        monitor="accuracy",
        monitor_goal="higher",
        patience=patience,
        min_delta=min_delta,
    )
    model, scripted = Net(), Scripted(values)
    result = train(model, spec, Job(batch_at, loss_fn, evaluate=scripted))
    assert (result.stopped, len(result.evaluations)) == (stopped, count)
    assert torch.equal(weights(model), scripted.seen[-1])
    if best is None:
        assert result.best.step is None
        with pytest.raises(UserError, match="nothing was evaluated"):
            result.best.load_into(model)
        return
    assert (result.best.step, result.best.value) == (2 * (best + 1), values[best])
    result.best.load_into(model)
    assert torch.equal(weights(model), scripted.seen[best])
    if best != count - 1:
        assert not torch.equal(scripted.seen[best], scripted.seen[-1])


def test_an_unknown_monitor_names_the_known_ones() -> None:
    spec = TrainSpec(steps=2, lr=0.01, evaluate_every=1, monitor="accuracy")
    with pytest.raises(UserError, match=r"no metric 'accuracy'.*use one of loss"):
        train(Net(), spec, Job(batch_at, loss_fn, evaluate=evaluate))


def test_evaluation_does_not_change_training() -> None:
    ends = []
    for every in (None, 1, 3):
        model = Net(dropout=0.5)
        model.blocks[1].drop.eval()
        spec = TrainSpec(steps=7, lr=0.01, evaluate_every=every)
        job = Job(batch_at, loss_fn, evaluate=evaluate if every else None)
        result = train(model, spec, job)
        ends.append(weights(model))
        assert model.training and model.blocks[0].drop.training
        if every == 3:
            assert [row["step"] for row in result.evaluations] == [3, 6, 7]
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])


class Anneal(Callback):
    """Lowers a dropout with the step, freezes the head at step 3, and keeps a diary."""

    def __init__(self) -> None:
        self.diary: list[str] = []

    def on_start(self, progress: Progress) -> None:
        self.diary.append(f"start {progress.step}/{progress.steps}")

    def on_step_start(self, progress: Progress) -> None:
        progress.model.blocks[0].drop.p = 0.5 * (1 - progress.step / progress.steps)
        progress.model.head.requires_grad_(progress.step < 3)

    def on_step_end(self, progress: Progress) -> None:
        self.diary.append(f"end {progress.step}")

    def on_evaluate(self, progress: Progress, metrics: Mapping[str, float]) -> None:
        self.diary.append(f"evaluate {progress.step} {sorted(metrics)}")

    def on_finish(self, progress: Progress) -> None:
        self.diary.append(f"finish {progress.step}")


def test_hooks_come_in_order_and_can_change_the_model() -> None:
    heads = []

    class Watch(Callback):
        def on_step_end(self, progress: Progress) -> None:
            heads.append(progress.model.head.weight.detach().clone())

    anneal = Anneal()
    spec = TrainSpec(steps=5, lr=0.01, evaluate_every=3)
    train(Net(), spec, Job(batch_at, loss_fn, evaluate=evaluate, callbacks=(anneal, Watch())))
    assert anneal.diary == [
        "start 0/5",
        *(f"end {step}" for step in range(3)),
        "evaluate 3 ['loss']",
        "end 3",
        "end 4",
        "evaluate 5 ['loss']",
        "finish 5",
    ]
    assert not torch.equal(heads[0], heads[1])
    assert torch.equal(heads[2], heads[4])


def test_stop_at_a_target_counts_evaluations_in_a_row() -> None:
    spec = TrainSpec(steps=20, lr=0.01, evaluate_every=2, monitor="accuracy", monitor_goal="higher")
    scripted = Scripted([0.99, 0.5, 0.99, 1.0, 0.9])
    stop = StopAtTarget("accuracy", 0.99, times=2)
    result = train(Net(), spec, Job(batch_at, loss_fn, evaluate=scripted, callbacks=(stop,)))
    assert (result.steps, result.stopped) == (8, "accuracy >= 0.99 2 times in a row")


def test_frozen_parameters_stay_and_groups_learn_at_their_own_rate() -> None:
    model = Net()
    model.blocks[0].requires_grad_(False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    spec = TrainSpec(
        steps=1, lr=0.1, weight_decay=0.0, clip=None, groups=(GroupSpec(match="^head", lr=0.001),)
    )
    train(model, spec, Job(batch_at, loss_fn))
    for name, parameter in model.named_parameters():
        moved = (parameter - before[name]).abs().max().item()
        # The first AdamW update moves each weight by its learning rate.
        expected = 0.0 if name.startswith("blocks.0") else 0.001 if "head" in name else 0.1
        assert moved == pytest.approx(expected, rel=0.01)


def test_a_loss_term_that_starts_late_is_nan_before() -> None:
    def late(model: nn.Module, batch: Batch, step: int) -> Loss:
        loss = loss_fn(model, batch, step)
        terms = {"kl": torch.tensor(float(step))} if step >= 2 else {}
        return Loss(loss.total, terms=terms)

    curve = train(Net(), TrainSpec(steps=4, lr=0.01), Job(batch_at, late)).curve
    np.testing.assert_array_equal(curve["kl"], [np.nan, np.nan, 2.0, 3.0])
    lines = curve.to_csv().splitlines()
    assert lines[0].startswith("step,loss")
    assert [float(line.split(",")[1]) for line in lines[1:]] == curve["loss"].tolist()


def test_a_diverged_run_says_so_at_once() -> None:
    def broken(model: nn.Module, batch: Batch, step: int) -> Loss:
        return Loss(loss_fn(model, batch, step).total * (float("inf") if step == 3 else 1.0))

    with pytest.raises(Diverged, match="loss is not finite at step 3") as error:
        train(Net(), TrainSpec(steps=9, lr=0.01), Job(batch_at, broken))
    assert error.value.step == 3


def test_the_bar_is_quiet_without_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    train(Net(), TrainSpec(steps=3, lr=0.01), Job(batch_at, loss_fn))
    assert capfd.readouterr() == ("", "")
