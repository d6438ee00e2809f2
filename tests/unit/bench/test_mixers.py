"""The bench of linear recurrences, quick."""

from __future__ import annotations

import torch

from seqlab.bench import mixers


def test_chunks_agree_with_their_peers_and_slopes_are_given() -> None:
    rows = list(mixers.run(True, 2.0))
    slopes = [row for row in rows if "slope" in row]
    timed = [row for row in rows if "slope" not in row]
    wanted = [f"{form} {how}" for form in mixers.FORMS for how in (mixers.CHUNKED, mixers.COMPILED)]
    assert [row["case"] for row in slopes] == wanted
    assert all(row["agree"] for row in timed if row["peer"] != mixers.ATTENTION)
    assert all(row["agree"] is None for row in timed if row["peer"] == mixers.ATTENTION)
    peers = {row["peer"] for row in timed}
    assert peers == {mixers.COMPILED, mixers.STEPWISE, mixers.INDEXED, mixers.ATTENTION}


def test_indexing_computes_the_recurrence() -> None:
    for form in mixers.FORMS:
        tensors = mixers.inputs(form, 9)
        ours, _ = mixers._indexed(mixers.form_of(form, mixers.STEPWISE), *tensors)
        torch.testing.assert_close(ours, mixers.form_of(form, mixers.STEPWISE)(*tensors)[0])
