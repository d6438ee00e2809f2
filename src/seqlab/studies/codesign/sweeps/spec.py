"""Settings of the sweeps: length of a sequence, batch size, bandwidth, and width of a product."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import model_validator

from seqlab.spec import Spec, setting
from seqlab.studies.codesign.experiment import AnalyseSpec, Experiment, RunSpec
from seqlab.studies.codesign.workbench.spec import WorkbenchSpec

LAYER, BATCH, BANDWIDTH, WIDTH = "layer", "batch", "bandwidth", "width"
_MODEL = "mamba"


class CallsSpec(Spec):
    """Timed calls per arm: fewer where a call is long, many where it is short.

    Foreign load is read off a clock of 10 ms ticks: a measurement should take many of them.
    """

    work: int = setting(
        "Work that the timed calls of an arm add up to: tokens of models, millions of "
        "multiplications of single products.",
        ge=1,
    )
    least: int = setting("Timed calls at least.", ge=3)
    most: int = setting("Timed calls at most.", ge=3)

    def calls(self, work: float) -> int:
        """Return the timed calls of an arm where a call takes so much work."""
        return min(self.most, max(self.least, round(self.work / work)))


class LayerSpec(Spec):
    """Figure 1: the first block of a Mamba in several orders, against the length of a sequence."""

    lengths: tuple[int, ...] = setting(
        "Lengths.", unit="tokens", source="codesign.md 2.24", min_length=1
    )
    block: int = setting("Channels that the scan skips together.", unit="channels", ge=1)
    pruned: float = setting("Share of channels pruned by energy.", gt=0, lt=1)
    calls: CallsSpec = setting("Timed calls per order.")


class BatchSpec(Spec):
    """Figure 4: the gain of the iterative arm against the batch size."""

    length: int = setting("Length of a sequence.", unit="tokens", ge=1)
    batches: tuple[int, ...] = setting("Batch sizes that are run.", min_length=2)
    wanted: tuple[int, ...] = setting(
        "Batch sizes of the published figure; those that are not run are said not to be.",
        source="codesign.md 2.8",
    )
    calls: CallsSpec = setting("Timed calls per arm.")


class BandwidthSpec(Spec):
    """The gain of the iterative arm against arithmetic intensity."""

    pairs: tuple[tuple[int, int], ...] = setting(
        "Batch and length of every level that is run.", min_length=1
    )
    wanted: tuple[tuple[int, int], ...] = setting(
        "Batch and length of every level of the published figure, scaled; those that are not run "
        "are said not to be.",
        source="codesign.md 2.9",
    )
    traced: int = setting("Pruned layers whose products are simulated and timed.", ge=1)
    calls: CallsSpec = setting("Timed calls per arm.")


class WidthSpec(Spec):
    """Figure 7b: products of one layer of a feed-forward network, against its width."""

    widths: tuple[int, ...] = setting(
        "Widths D.", unit="features", source="codesign.md 2.18", min_length=4
    )
    tokens: int = setting("Tokens, columns of the operand of K1 and K0, rows of K3.", ge=16)
    expansion: int = setting("Rows of the weight per width.", source="codesign.md 2.23", ge=1)
    most_rows: int = setting("Rows of the weight at most.", ge=16)
    density: float = setting("Share of elements that are not zero.", gt=0, le=0.5)
    fewest: int = setting("Elements of a row at least, where the density gives fewer.", ge=1)
    communities: int = setting("Planted communities, fewer where they would get too small.", ge=2)
    smallest: int = setting("Features of a community at least.", unit="features", ge=2)
    mixing: float = setting("Share of elements outside the community of their row.", ge=0, lt=1)
    calls: CallsSpec = setting("Timed calls per order.")

    @model_validator(mode="after")
    def _check(self) -> WidthSpec:
        if list(self.widths) != sorted(set(self.widths)):
            raise ValueError("widths must ascend")
        if min(self.widths) < self.smallest or self.fewest > self.smallest:
            raise ValueError("a community must fit the smallest width, a row's elements into it")
        if self.density * self.communities > 1:
            raise ValueError("the elements of a row do not fit into its community")
        if self.tokens % 16:
            raise ValueError("tokens must be a multiple of 16")
        return self

    def rows(self, width: int) -> int:
        """Return the rows of the weight, which are the neurons of the network."""
        return min(self.expansion * width, self.most_rows)


def level_name(batch: int, length: int) -> str:
    """Return the name of a level of the figure of the bandwidth, such as 2x128."""
    return f"{batch}x{length}"


Sweep = LayerSpec | BatchSpec | BandwidthSpec | WidthSpec


class SweepsRunSpec(RunSpec):
    """Settings of one run: every level of one cell."""

    sweep: Sweep = setting("What is swept.")


class SweepsAnalyseSpec(AnalyseSpec):
    """Settings of the statistics."""

    wanted: dict[str, tuple[str, ...]] = setting("Cell -> levels that it should have.")
    breakpoint_margin: float = setting("Octaves that count as the same width.", gt=0)
    resamples: int = setting("Bootstrap resamples.", ge=200)
    seed: int = setting("Seed of the bootstrap.")


class SweepsSpec(Experiment):
    """Latency against length, batch size, arithmetic intensity and width."""

    figures: ClassVar[tuple[str, ...]] = (
        "layer_latency",
        "batch_sensitivity",
        "bandwidth",
        "width_scaling",
    )

    layer: LayerSpec = setting("Figure 1.")
    batch: BatchSpec = setting("Figure 4.")
    bandwidth: BandwidthSpec = setting("The figure of the bandwidth.")
    width: WidthSpec = setting("Figure 7b.")
    layer_seeds: int = setting("Runs of Figure 1; `seeds` are those of the others.", ge=3)
    breakpoint_margin: float = setting(
        "Octaves within which a threshold counts as where the operand outgrows the second cache.",
        source="codesign.md 6.2 (P8)",
        gt=0,
    )
    resamples: int = setting("Bootstrap resamples.", source="codesign.md 2.20", ge=200)
    bootstrap_seed: int = setting("Seed of the bootstrap.", default=17)

    @model_validator(mode="after")
    def _check(self) -> SweepsSpec:
        if not {*self.batch.batches} <= {*self.batch.wanted}:
            raise ValueError("batch.batches holds one that is not among batch.wanted")
        if not {*self.bandwidth.pairs} <= {*self.bandwidth.wanted}:
            raise ValueError("bandwidth.pairs holds one that is not among bandwidth.wanted")
        return self

    def cells(self) -> list[str]:
        """Return the four sweeps."""
        return [LAYER, BATCH, BANDWIDTH, WIDTH]

    def architectures(self, cell: str) -> list[str]:
        """Return the Mamba; the products of the sweep of widths are drawn."""
        return [] if cell == WIDTH else [_MODEL]

    def runs(self) -> list[str]:
        """Return the folder of every run."""
        return [f"{cell}/seed-{seed}" for cell in self.cells() for seed in range(self._runs(cell))]

    def _runs(self, cell: str) -> int:
        return self.layer_seeds if cell == LAYER else self.seeds

    def run_spec(self, bench: WorkbenchSpec, cell: str, seed: int) -> RunSpec:
        """Return exactly what a run reads."""
        return SweepsRunSpec(
            **self.run_fields(bench, cell, seed),
            sweep=getattr(self, cell),
        )

    def analyse_spec(self) -> AnalyseSpec:
        """Return what the statistics read."""
        return SweepsAnalyseSpec(
            **super().analyse_spec().model_dump(),
            wanted={
                LAYER: tuple(map(str, self.layer.lengths)),
                BATCH: tuple(map(str, self.batch.wanted)),
                BANDWIDTH: tuple(level_name(*pair) for pair in self.bandwidth.wanted),
                WIDTH: tuple(map(str, self.width.widths)),
            },
            breakpoint_margin=self.breakpoint_margin,
            resamples=self.resamples,
            seed=self.bootstrap_seed,
        )

    def facts(self, bench: WorkbenchSpec) -> dict[str, Any]:
        """Return what the four captions state."""
        cut = [str(batch) for batch in self.batch.wanted if batch not in self.batch.batches]
        pairs = self.bandwidth.wanted
        cut_pairs = [level_name(*pair) for pair in pairs if pair not in self.bandwidth.pairs]
        return {
            "runs": {cell: self._runs(cell) for cell in self.cells()},
            "threads": bench.timing.threads,
            "pattern": bench.architectures[_MODEL].pattern,
            "layer": {"block": self.layer.block, "pruned": f"{100 * self.layer.pruned:g} %"},
            "batch": {"length": self.batch.length, "cut": ", ".join(cut) or "none"},
            "bandwidth": {
                "traced": self.bandwidth.traced,
                "levels": len(self.bandwidth.pairs),
                "cut": ", ".join(cut_pairs) or "none",
            },
            "width": {
                "tokens": self.width.tokens,
                "expansion": self.width.expansion,
                "most_rows": f"{self.width.most_rows:,}",
                "density": f"{100 * self.width.density:g} %",
                "fewest": self.width.fewest,
                "communities": self.width.communities,
                "smallest": self.width.smallest,
                "mixing": f"{100 * self.width.mixing:g} %",
            },
            "breakpoint_margin": self.breakpoint_margin,
        }
