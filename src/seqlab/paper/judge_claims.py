"""Step: the verdict of every claim of a study at one scale."""

from __future__ import annotations

from seqlab.claims import evaluate, load_tables, verdict_table
from seqlab.claims_spec import load_claims
from seqlab.paper.spec import ClaimsSpec
from seqlab.plots.tables import write_table
from seqlab.spec import In, Ins, Out


def judge_claims(spec: ClaimsSpec, *, claims: In, tables: Ins, csv: Out, md: Out, tex: Out) -> None:
    """Judge the claims of a study by its statistics and write one row per claim.

    What a claim needs is held against what the runs behind its table were made on: their device,
    model, corpus and scale.

    Raises:
        UserError: A claims file or a table is damaged, or a claim names a column that is not there.
    """
    files = [load_claims(claims)]
    found = load_tables(files, tables)
    verdicts = evaluate(files, found, spec.corpora, spec.scale)
    write_table(verdict_table(verdicts), csv=csv, md=md, tex=tex)
