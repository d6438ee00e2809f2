"""Step: one run of the interventions on the caches."""

from __future__ import annotations

from seqlab.spec import Context, Ins, Out
from seqlab.studies.codesign.intervention.run import intervene
from seqlab.studies.codesign.intervention.spec import InterventionRunSpec
from seqlab.studies.codesign.workbench.record import write_run


def run_intervention(
    spec: InterventionRunSpec, *, assets: Ins, record: Out, samples: Out, context: Context
) -> None:
    """Check, simulate and time both layouts of one drawn graph in every condition.

    Raises:
        UserError: An order changes the sums, the warm operand does not fit, or the machine is
            loaded.
    """
    write_run(
        spec,
        intervene(spec),
        experiment="intervention",
        cell={"model": ""},
        record=record,
        samples=samples,
        context=context,
        rehearsal=False,
    )
