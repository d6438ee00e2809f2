"""Step: write the settings of the run, overlays applied, beside its results."""

from __future__ import annotations

import json

from seqlab.paper.spec import RunConfigSpec
from seqlab.provenance.atomic import write_json
from seqlab.spec import Out


def write_run_config(spec: RunConfigSpec, *, out: Out) -> None:
    """Write the resolved settings of every group as readable JSON."""
    write_json(out, json.loads(spec.settings))
