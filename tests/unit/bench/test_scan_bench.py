"""The scan bench runs, agrees with its peers and fills its rows."""

from __future__ import annotations

import pytest
import torch

from seqlab.bench import scan
from seqlab.models.mamba import MambaForCausalLM
from seqlab.models.mamba_config import MambaConfig


def test_quick_rows_agree_and_are_complete(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mambapy")
    pytest.importorskip("transformers")
    monkeypatch.setattr(scan, "matmul_roofline", lambda *_: 1e9)
    rows = list(scan.run(True, 2.0))
    assert [(row["case"], row["peer"]) for row in rows] == [
        ("B2 L8", "mambapy"),
        ("B2 L8", "mambapy, heap kept"),
        ("B2 L8", "transformers"),
        ("B2 L8", "transformers, heap kept"),
        ("B2 L16", "ours per token at L8"),
    ]
    for row in rows:
        assert row["agree"] is True
        assert row["backend"] == "numba"
        assert row["limit_fraction"] == pytest.approx(row["limit"] / row["ours_s"])
        assert row["ratio"] == pytest.approx(row["peer_s"] / row["ours_s"])
        assert row["ratio_ci"][0] <= row["ratio_ci"][1]
    flops_per_token = scan._product_flops(scan._sizes(quick=True).config)
    assert [row["limit"] for row in rows[::4]] == pytest.approx(
        [flops_per_token * tokens / 1e9 for tokens in (2 * 8, 2 * 16)]
    )


def test_agreement_sees_a_wrong_gradient():
    logits, gradient = torch.ones(2, 3, 4), torch.ones(5)
    ours = (logits, {"w": gradient})
    assert scan.agree(ours, (logits * (1 + 1e-6), {"w": gradient}))
    assert not scan.agree(ours, (logits, {"w": gradient * (1 + 1e-4)}))
    assert not scan.agree(ours, (logits, {"v": gradient}))


def test_product_operations_are_those_of_the_weights():
    config = MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2)
    model = MambaForCausalLM(config)
    weights = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear)]
    # One product forward and two backward, a multiplication and an addition for each weight.
    assert scan._product_flops(config) == 6 * sum(weights)


def test_longer_sequences_start_with_the_shorter_one():
    sizes = scan._sizes(quick=False)
    assert torch.equal(scan._tokens(sizes, 64)[:, :16], scan._tokens(sizes, 16))
