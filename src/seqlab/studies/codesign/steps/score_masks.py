"""Step: score the dense model, its pruned forms and its trained masks on held-out text."""

from __future__ import annotations

import pandas as pd

from seqlab.data.sources import read_origin
from seqlab.provenance.atomic import write_text
from seqlab.provenance.environment import device_key, environment
from seqlab.spec import Context, In, Ins, Out
from seqlab.studies.codesign.masks.score import COLUMNS, score_variants
from seqlab.studies.codesign.masks.spec import ScoreMasksSpec


def score_masks(
    spec: ScoreMasksSpec, *, model: In, tokens: In, trained: Ins, windows: Out, context: Context
) -> None:
    """Write one row per variant and window; a rehearsal scores all and writes none.

    Raises:
        UserError: A folder is missing or damaged, or the text too short.
    """
    found = score_variants(spec, model, tokens, trained, context.torch_device())
    described = environment(spec, context.code, context.threads)
    found = found.assign(device=device_key(described))[COLUMNS]
    if read_origin(model).rehearsal:
        found = pd.DataFrame(columns=COLUMNS)
    write_text(windows, found.to_csv(index=False))
