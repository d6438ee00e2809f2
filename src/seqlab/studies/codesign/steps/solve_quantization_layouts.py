"""Step: the layouts of the dense model for one seed, for every block size of the grid."""

from __future__ import annotations

from seqlab.data.tokens import load_tokens
from seqlab.models.permuting import Layout
from seqlab.models.pretrained import load_causal_lm
from seqlab.models.sites import mamba_sites
from seqlab.spec import Context, In, Out
from seqlab.studies.codesign.quantization.layout_file import write_layouts
from seqlab.studies.codesign.quantization.layouts import (
    calibration_windows,
    measure_affinities,
    solve_layout,
)
from seqlab.studies.codesign.quantization.spec import SolveLayoutsSpec


def solve_quantization_layouts(
    spec: SolveLayoutsSpec, *, model: In, tokens: In, layouts: Out, context: Context
) -> None:
    """Measure the affinities of the dense model once and solve a layout for each block size."""
    dense = load_causal_lm(model, device=context.torch_device()).eval()
    sites = mamba_sites(dense.config)
    windows = calibration_windows(load_tokens(tokens, "train"), spec.affinity, spec.seed)
    affinities = measure_affinities(
        dense, windows.to(context.torch_device()), Layout(sites), mode=spec.affinity.mode
    )
    write_layouts(
        layouts,
        {
            block: solve_layout(affinities, sites, spec.solver, block, spec.seed)
            for block in spec.blocks
        },
    )
