"""Figure 7b: products of a layer of a feed-forward network in two orders, against its width D.

The weight (rows, D) is sparse with planted communities of features; what is drawn carries shuffled
labels. Kernels:

| kernel | product | operand, which rows of are loaded in the order of the elements |
|---|---|---|
| `csr` (K1) | W (rows, D) X (D, tokens) | X: D x tokens floats |
| `gather` (K3) | S (tokens, rows) V (rows, D): active neurons of each token | V: rows x D floats |
| `dense` (K0) | W X with all zeros stored | none |

`clustered` lays features out by planted community, and outputs of W by the one they read most;
tokens stay in the order in which they come.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqlab.errors import UserError
from seqlab.kernels.sparse import CsrWeight
from seqlab.layout.permutation import Permutation
from seqlab.provenance.machine import describe_machine
from seqlab.provenance.record import Check, Metric
from seqlab.studies.codesign.canonical import stream
from seqlab.studies.codesign.sweeps.spec import SweepsRunSpec, WidthSpec
from seqlab.studies.codesign.workbench.bench import Found, time_quietly
from seqlab.studies.codesign.workbench.metrics import latency_metric

CSR, GATHER, DENSE = "csr", "gather", "dense"
RANDOM, AGAIN, CLUSTERED = "random", "random_aa", "clustered"
MACHINE = "machine/all/caches"
_CACHES = {"L1": "l1d_bytes", "L2": "l2_bytes", "L3": "l3_bytes"}
_TOLERANCE = 1e-4
_FLOAT = 4

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Planted:
    """A sparse matrix with communities of columns.

    Attributes:
        matrix: (rows, columns) float32.
        community: (columns,) community of each column.
        size: Columns of a community.
    """

    matrix: scipy.sparse.csr_array
    community: Integers
    size: int


@dataclass(frozen=True)
class Ordered:
    """Orders of both axes of a matrix, `indices[new] = old`."""

    rows: Permutation
    columns: Permutation


def planted_matrix(rows: int, columns: int, spec: WidthSpec, rng: np.random.Generator) -> Planted:
    """Draw a matrix whose rows take their elements from one community of columns each.

    A row has `density` of the columns, at least `fewest`; a share `mixing` of its elements,
    binomial, lies anywhere. Elements that fall on one another are one, so that a few less remain.
    """
    size = max(spec.smallest, columns // spec.communities)
    groups = max(1, columns // size)
    community = np.minimum(np.arange(columns) // size, groups - 1)
    wanted = max(spec.fewest, round(spec.density * columns))
    outside = rng.binomial(wanted, spec.mixing, rows)
    group = rng.integers(0, groups, rows)
    # Without replacement inside: ranks of random keys.
    ranks = rng.random((rows, size)).argsort(1).argsort(1)
    row, place = np.nonzero(ranks < (wanted - outside)[:, None])
    column = group[row] * size + place
    row = np.append(row, np.repeat(np.arange(rows), outside))
    column = np.append(column, rng.integers(0, columns, int(outside.sum())))
    shuffled = rng.permutation(columns)
    ones = np.ones(len(row), np.float32)
    pattern = scipy.sparse.csr_array((ones, (row, shuffled[column])), shape=(rows, columns))
    pattern.sum_duplicates()
    pattern.data = rng.standard_normal(pattern.nnz).astype(np.float32)
    labels = np.empty(columns, np.int64)
    labels[shuffled] = community
    return Planted(pattern, labels, size)


def clustered_columns(planted: Planted) -> Permutation:
    """Return the order of the columns by planted community.

    Not a solved one: solvers get slower and worse with the width, and the figure asks what the
    width alone does.
    """
    return Permutation(np.argsort(planted.community, kind="stable"))


def rows_by_columns(planted: Planted, columns: Permutation) -> Permutation:
    """Return rows sorted by the block of laid out columns that holds most of their elements."""
    block = columns.positions() // planted.size
    entries = planted.matrix.tocoo()
    count = scipy.sparse.csr_array(
        (np.ones(entries.nnz), (entries.row, block[entries.col])),
        shape=(planted.matrix.shape[0], int(block.max()) + 1),
    ).toarray()
    return Permutation(np.argsort(count.argmax(1), kind="stable"))


def measure_width(spec: SweepsRunSpec, found: Found) -> None:
    """Check and time both orders of every product at every width.

    Raises:
        UserError: An order changes a product, or the machine is loaded.
    """
    sweep = spec.sweep
    assert isinstance(sweep, WidthSpec)
    found.add(MACHINE, _caches())
    for width in sweep.widths:
        rows = sweep.rows(width)
        weight = planted_matrix(rows, width, sweep, stream(spec.seed, f"weight/{width}"))
        active = planted_matrix(sweep.tokens, rows, sweep, stream(spec.seed, f"active/{width}"))
        # Activations after a rectifier are not negative.
        active.matrix.data = np.abs(active.matrix.data)
        columns = clustered_columns(weight)
        both = Ordered(rows_by_columns(weight, columns), columns)
        _measure(spec, found, CSR, width, weight, both, sweep.tokens)
        _measure(spec, found, DENSE, width, weight, both, sweep.tokens)
        tokens = Ordered(Permutation.identity(sweep.tokens), clustered_columns(active))
        _measure(spec, found, GATHER, width, active, tokens, width)


def _measure(
    spec: SweepsRunSpec,
    found: Found,
    kernel: str,
    width: int,
    planted: Planted,
    clustered: Ordered,
    operand_width: int,
) -> None:
    """Check and time one product in both orders; what is found stands under `kernel/width`."""
    rows, columns = planted.matrix.shape
    rng = stream(spec.seed, f"{kernel}/{width}")
    x = torch.from_numpy(rng.standard_normal((columns, operand_width), dtype=np.float32))
    by_chance = Ordered(
        # Where rows are tokens they stay as they come in every order.
        clustered.rows if kernel == GATHER else Permutation.random(rows, rng),
        Permutation.random(columns, rng),
    )
    orders = {RANDOM: by_chance, AGAIN: by_chance, CLUSTERED: clustered}
    reference = torch.from_numpy(planted.matrix.astype(np.float64) @ x.double().numpy())
    calls: dict[str, Callable[[], Tensor]] = {}
    checks: dict[str, Check] = {}
    for name in rng.permutation(list(orders)).tolist():
        calls[name] = product(planted.matrix, x, orders[name], kernel)
        checks[name] = _check(calls[name](), orders[name], reference, f"{kernel}/{width}/{name}")
    multiplied = rows * columns if kernel == DENSE else planted.matrix.nnz
    repeats = _sweep(spec).calls.calls(multiplied * operand_width * 1e-6)
    place = f"{kernel}/{width}"
    latency, loads = time_quietly(spec.bench.timing, spec.seed, dict(calls), repeats, place)
    found.add_latency(f"{place}/latency", latency, loads)
    for name in orders:
        counts = {
            "operand_bytes": (columns * operand_width * _FLOAT, "bytes"),
            "stored": (planted.matrix.nnz, "elements"),
            "density": (planted.matrix.nnz / (rows * columns), "1"),
        }
        metrics = {"latency_ms": latency_metric(latency, name)} | {
            metric: Metric(value=value, unit=unit, provenance="counted")
            for metric, (value, unit) in counts.items()
        }
        found.add(f"{place}/{name}", metrics, {"product": checks[name]})


def product(
    matrix: scipy.sparse.csr_array, x: Tensor, order: Ordered, kernel: str
) -> Callable[[], Tensor]:
    """Return the product of a matrix (rows, columns) and X (columns, T), both in an order."""
    moved = matrix[order.rows.indices][:, order.columns.indices]
    operand = order.columns.apply(x).contiguous()
    if kernel == DENSE:
        weight = torch.from_numpy(moved.toarray())
        out = torch.empty(weight.shape[0], operand.shape[1])
        return lambda: torch.mm(weight, operand, out=out)
    stored = CsrWeight.of(moved)
    return lambda: stored @ operand


def _check(found: Tensor, order: Ordered, reference: Tensor, where: str) -> Check:
    restored = order.rows.inverse().apply(found).double()
    error = float((restored - reference).norm() / reference.norm())
    if not error <= _TOLERANCE:
        raise UserError(f"the product differs by {error:.3g} of its norm", where=where)
    return Check(passed=True, value=error, tolerance=_TOLERANCE, detail="")


def _sweep(spec: SweepsRunSpec) -> WidthSpec:
    assert isinstance(spec.sweep, WidthSpec)
    return spec.sweep


def _caches() -> dict[str, Metric]:
    """Return the sizes of the machine's caches as one core sees them."""
    machine = describe_machine()
    return {
        f"{name}_bytes": Metric(
            value=machine[key],
            unit="bytes",
            provenance="counted",
            reason=None if machine[key] else "the system does not tell",
        )
        for name, key in _CACHES.items()
    }
