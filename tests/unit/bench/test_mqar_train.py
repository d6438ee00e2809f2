"""The bench of training steps on associative recall, quick."""

from __future__ import annotations

import numpy as np
import torch

from seqlab.bench import mqar_train
from seqlab.data.mqar import draw_mqar


def test_one_row_of_both_and_as_many_parameters() -> None:
    (row,) = mqar_train.run(True, 2.0)
    assert row["agree"] is None and row["ratio"] > 0
    assert row["steps_per_s"] > 0 and row["peer_steps_per_s"] > 0
    # Biases and norms apart.
    assert abs(row["parameters"] / row["peer_parameters"] - 1) < 0.05


def test_the_peer_is_causal() -> None:
    torch.manual_seed(0)
    model = mqar_train.PlainModel(mqar_train.CONFIG, mqar_train.LAW.length).eval()
    ids = torch.from_numpy(draw_mqar(mqar_train.LAW, 2, np.random.default_rng(0)).input_ids)
    changed = ids.clone()
    changed[:, 40:] = changed[:, 40:].flip(1)
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :40], after[:, :40])
