"""The bench of chunked recurrences, quick."""

from __future__ import annotations

import torch

from seqlab.bench import mixers


def test_chunks_agree_with_both_peers_and_slopes_are_given() -> None:
    rows = list(mixers.run(True, 2.0))
    slopes = [row for row in rows if "slope" in row]
    timed = [row for row in rows if "slope" not in row]
    assert [row["case"] for row in slopes] == list(mixers.FORMS)
    assert all(row["agree"] for row in timed if row["peer"] != mixers.ATTENTION)
    assert all(row["agree"] is None for row in timed if row["peer"] == mixers.ATTENTION)
    peers = {row["peer"] for row in timed}
    assert peers == {"step by step", "indexed", mixers.ATTENTION}


def test_indexing_computes_the_recurrence() -> None:
    for form, (_, stepwise) in mixers.FORMS.items():
        tensors = mixers.inputs(form, 9)
        ours, _ = mixers._indexed(stepwise, *tensors)
        torch.testing.assert_close(ours, stepwise(*tensors)[0])
