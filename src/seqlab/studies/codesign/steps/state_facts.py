"""Step: the facts that the caption of a figure on the workbench states."""

from __future__ import annotations

import pandas as pd

from seqlab.provenance.atomic import write_json
from seqlab.spec import In, Out
from seqlab.studies.codesign.experiment import FactsSpec


def state_facts(spec: FactsSpec, *, statistics: In, facts: Out) -> None:
    """Write scale, n, devices, the noise of identical arms, and what the experiment states."""
    rows = pd.read_csv(statistics)
    noise = rows["noise_limit"].dropna() if "noise_limit" in rows else pd.Series(dtype=float)
    devices = rows["device"].dropna().unique() if "device" in rows else []
    write_json(
        facts,
        {
            **spec.facts,
            "scale": spec.scale,
            "n": spec.seeds,
            "devices": "; ".join(sorted(map(str, devices))),
            "noise_median": f"{100 * noise.median():.1f} %" if len(noise) else "not measured",
            "noise_max": f"{100 * noise.max():.1f} %" if len(noise) else "not measured",
        },
    )
