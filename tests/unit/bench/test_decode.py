"""The decoding bench runs, agrees with transformers and fills its rows."""

from __future__ import annotations

import pytest

from seqlab.bench import decode


def test_quick_rows_agree_and_are_complete() -> None:
    pytest.importorskip("transformers")
    rows = list(decode.run(True, 5.0))
    assert [row["case"] for row in rows] == ["H16 B1 P4 T8", "H16 B2 P4 T8"]
    for row in rows:
        assert row["agree"] is True
        assert row["backend"] == "numba"
        assert row["limit"] > 0
        assert row["smallest_gap"] > 0
        assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
        assert row["ratio_ci"][0] <= row["ratio_ci"][1]


def test_the_weights_of_a_step_are_counted() -> None:
    hidden, inner, rank, states, taps, vocabulary = 16, 32, 1, 16, 4, 64
    layer = 2 * inner * hidden + inner * taps + (rank + 2 * states) * inner
    layer += inner * rank + inner * states + hidden * inner
    expected = 4 * layer + vocabulary * hidden
    assert decode._weights_read(decode._model(hidden, vocabulary)) == expected
