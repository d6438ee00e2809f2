"""Step: what Nsight Compute runs: the products of one arm, marked, once."""

from __future__ import annotations

import torch

from seqlab.measure.ncu import profiled
from seqlab.spec import Context, Ins
from seqlab.studies.codesign.counters.spec import CallSpec
from seqlab.studies.codesign.workbench.bench import Bench, check_kernel, in_sequence, prepare
from seqlab.studies.codesign.workbench.subjects import open_subject


def call_arm(spec: CallSpec, *, assets: Ins, context: Context) -> None:
    """Build and check an arm, and call its traced products between the profiler's marks.

    Raises:
        UserError: An asset is missing, or the arm computes something else.
    """
    ((name, architecture),) = spec.bench.architectures.items()
    subject = open_subject(name, architecture, assets, spec.seed, context.torch_device())
    bench = Bench(subject, spec.bench, spec.seed)
    arms = bench.build([spec.arm])
    bench.gate(arms)
    prepared = prepare(bench, arms, spec.kernel)
    check_kernel(bench, arms, prepared)
    arm = prepared[spec.arm].arm
    call = in_sequence(subject.products(arm.model, spec.kernel, arm.order.nodes))
    with torch.inference_mode():
        # The first call loads modules and picks algorithms; those launches are not the arm's.
        call()
        with profiled():
            call()
