"""Learned masks: trained through the one loop, exported as plain models, scored and compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_mamba import make_assets
from torch import nn

from seqlab.data.batches import sample_windows
from seqlab.data.tokens import load_tokens
from seqlab.errors import Terminated, UserError
from seqlab.models.masks import Pattern, magnitude_mask, pattern_mask
from seqlab.models.pretrained import load_causal_lm
from seqlab.plots.tables import to_markdown
from seqlab.spec import Context, validate
from seqlab.studies.codesign.masks import training
from seqlab.studies.codesign.masks.contrasts import analyse
from seqlab.studies.codesign.masks.score import changed_groups, score_variants
from seqlab.studies.codesign.masks.spec import VARIANTS, MasksSpec, TrainMasksSpec
from seqlab.studies.codesign.masks.table import table
from seqlab.studies.codesign.steps.train_masks import train_masks
from seqlab.training.losses import Loss

TWO_OF_FOUR = Pattern.parse("2:4")
SETTINGS = {
    "models": ["tiny"],
    "train": {"steps": 6, "lr": 0.05, "weight_decay": 0.01, "seed": 17, "schedule": "constant"},
    "weight_lr": 1e-3,
    "temperature": [1.0, 0.1],
    "batch": 2,
    "length": 16,
    "threads": 1,
    "windows": 8,
    "evaluate_length": 16,
    "quality_margin": 0.005,
    "resamples": 200,
}
SPEC = MasksSpec.model_validate(SETTINGS)


def spec_of(variant: str, **train: object) -> TrainMasksSpec:
    changed = MasksSpec.model_validate(SETTINGS | {"train": SETTINGS["train"] | train})
    found = changed.step_spec("train_masks", {"variant": variant, "model": "tiny"})
    assert isinstance(found, TrainMasksSpec)
    return found


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_assets(tmp_path_factory.mktemp("assets"))


def run(assets: list[Path], folder: Path, spec: TrainMasksSpec) -> Path:
    model, tokens = assets
    train_masks(
        spec,
        model=model,
        tokens=tokens,
        state=folder / "state",
        out=folder / "trained",
        context=Context(code="c0de", device="cpu"),
    )
    return folder / "trained"


@pytest.fixture(scope="module")
def trained(assets: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("trained")
    return {variant: run(assets, root / variant, spec_of(variant)) for variant in VARIANTS}


def test_exported_models_are_plain_and_half_empty(
    assets: list[Path], trained: dict[str, Path]
) -> None:
    dense = load_causal_lm(assets[0])
    names = training.projections(dense)
    assert names == tuple(f"backbone.layers.0.mixer.{part}" for part in ("in_proj", "out_proj"))
    for variant, folder in trained.items():
        summary = json.loads((folder / "masks.json").read_text())
        assert summary["sparsity"] == 0.5 and summary["skipped"] == []
        assert summary["variant"] == variant and summary["steps"] == 6
        masks, model = load_file(folder / "masks.safetensors"), load_causal_lm(folder)
        for name in names:
            weight, mask = model.get_submodule(name).weight, masks[name].bool()
            assert not weight[~mask].any()
            assert (mask.reshape(len(mask), -1, 4).sum(-1) == 2).all()


def test_variants_differ_in_what_is_trained(assets: list[Path], trained: dict[str, Path]) -> None:
    dense = load_causal_lm(assets[0]).state_dict()
    changed = {
        variant: json.loads((folder / "masks.json").read_text())["layers"]
        for variant, folder in trained.items()
    }
    for name in training.projections(load_causal_lm(assets[0])):
        magnitude = magnitude_mask(dense[f"{name}.weight"], TWO_OF_FOUR)
        tuned = load_file(trained["magnitude_tuned"] / "masks.safetensors")[name].bool()
        assert torch.equal(tuned, magnitude)
        learned = load_file(trained["hds"] / "masks.safetensors")[name].bool()
        share = (learned ^ magnitude).reshape(len(learned), -1, 4).any(-1).double().mean()
        assert changed["hds"][name]["changed_groups"] == pytest.approx(float(share))
        assert share > 0 and changed["magnitude_tuned"][name]["changed_groups"] == 0.0
        frozen = load_causal_lm(trained["hds"]).state_dict()[f"{name}.weight"]
        assert torch.equal(frozen, dense[f"{name}.weight"] * learned)
    for variant, same in (("hds", True), ("hds_tuned", False), ("magnitude_tuned", False)):
        found = load_causal_lm(trained[variant]).state_dict()
        norm = "backbone.norm_f.weight"
        assert torch.equal(found[norm], dense[norm]) == same


def test_without_a_step_learned_masks_are_those_of_magnitudes(
    assets: list[Path], tmp_path: Path
) -> None:
    dense = load_causal_lm(assets[0])
    folder = run(assets, tmp_path, spec_of("hds", steps=0))
    masks = load_file(folder / "masks.safetensors")
    for name in training.projections(dense):
        expected = magnitude_mask(dense.get_submodule(name).weight, TWO_OF_FOUR)
        assert torch.equal(masks[name].bool(), expected)


def test_a_killed_training_resumes_to_the_same_bits(
    assets: list[Path], trained: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of("hds_tuned", checkpoint_every_steps=1)
    original = training.Anneal.on_step_start

    def killed(self: training.Anneal, progress: object) -> None:
        if progress.step == 3:  # type: ignore[attr-defined]
            raise Terminated("killed")
        original(self, progress)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(training.Anneal, "on_step_start", killed)
        with pytest.raises(Terminated):
            run(assets, tmp_path, spec)
    assert not (tmp_path / "trained").exists()
    folder = run(assets, tmp_path, spec)
    assert json.loads((folder / "masks.json").read_text())["resumed_from"] == [3]
    unbroken = (trained["hds_tuned"] / "model.safetensors").read_bytes()
    assert (folder / "model.safetensors").read_bytes() == unbroken
    assert not list((tmp_path / "state").glob("*/"))


class _Net(nn.Module):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.in_proj = nn.Linear(weight.shape[1], len(weight), bias=False)
        self.in_proj.weight = nn.Parameter(weight.clone())
        # Three inputs carry no 2:4 mask.
        self.out_proj = nn.Linear(3, 2)


def test_training_recovers_a_planted_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    """The magnitudes mislead: the teacher uses the two smallest of every four."""
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    planted = pattern_mask(1.0 / weight.abs(), TWO_OF_FOUR)

    def batch_at(step: int) -> torch.Tensor:
        return torch.randn(64, 16, generator=torch.Generator().manual_seed(step))

    def loss(model: _Net, x: torch.Tensor, step: int) -> Loss:
        return Loss((model.in_proj(x) - x @ (weight * planted).T).square().mean())

    monkeypatch.setattr(training, "next_token_loss", loss)
    net = _Net(weight)
    found = training.train_variant(net, spec_of("hds", steps=400), batch_at, None)
    assert (found.masks["in_proj"] == planted).double().mean() > 0.95
    assert found.changed["in_proj"] > 0.95
    assert found.skipped == ("out_proj",)
    assert torch.equal(net.in_proj.weight, weight * found.masks["in_proj"])
    assert found.result.curve["loss"][-1] < 0.05 * found.result.curve["loss"][0]


def test_scores_are_those_of_the_same_windows(assets: list[Path], trained: dict[str, Path]) -> None:
    spec = SPEC.step_spec("score_masks", {"model": "tiny"})
    found = score_variants(spec, *assets, list(trained.values()), "cpu")
    assert found.groupby("variant").size().eq(8).all()
    sparsity = found.groupby("variant")["sparsity"].first()
    assert sparsity.drop("dense").eq(0.5).all() and sparsity["dense"] == 0.0
    changed = found.groupby("variant")["changed_groups"].first()
    assert changed["magnitude_tuned"] == 0.0 and changed["hds"] > 0 and np.isnan(changed["dense"])
    held_out = load_tokens(assets[1], "test")
    rng = np.random.default_rng([spec.seed, *b"held_out"])
    windows = torch.from_numpy(sample_windows(held_out, 17, 8, rng))
    with torch.no_grad():
        logits = load_causal_lm(trained["hds"])(windows[:, :-1]).logits.double()
    nll = nn.functional.cross_entropy(logits.transpose(1, 2), windows[:, 1:], reduction="none").sum(
        1
    )
    own = found[found["variant"] == "hds"]
    np.testing.assert_allclose(own["nll"], nll, rtol=1e-4)
    np.testing.assert_array_equal(own["bytes"], held_out.token_bytes[windows[:, 1:]].sum(1))


def test_a_folder_without_a_record_of_its_masks_is_refused(assets: list[Path]) -> None:
    with pytest.raises(UserError, match=r"no record of its masks.*masks\.json"):
        changed_groups(assets[0])


def windows(**shift: float) -> pd.DataFrame:
    """Return made-up windows; each variant adds nats to those of the dense model."""
    rng = np.random.default_rng(0)
    base = 300 + 30 * rng.standard_normal(40)
    parts = []
    for variant, added in shift.items():
        noise = 0.2 * rng.standard_normal(40) * bool(added)
        parts.append(
            pd.DataFrame(
                {
                    "model": "made-up",
                    "variant": variant,
                    "sparsity": 0.0 if variant == "dense" else 0.5,
                    "changed_groups": 0.25 if variant.startswith("hds") else np.nan,
                    "window": np.arange(40),
                    "nll": base + added + noise,
                    "bytes": 200,
                    "tokens": 64,
                    "device": "made-up",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_planted_differences_have_their_verdicts() -> None:
    data = windows(dense=0.0, magnitude=20.0, hds=10.0, hds_tuned=10.05, unstructured=20.0)
    found = analyse(data, SPEC.step_spec("analyse_masks", {})).set_index("contrast")
    assert found.loc["magnitude_vs_dense", "verdict"] == "higher"
    assert found.loc["hds_vs_magnitude", "verdict"] == "lower"
    assert found.loc["hds_tuned_vs_hds", "verdict"] == "equivalent"
    expected = -10 / np.log(2) / 200
    assert found.loc["hds_vs_magnitude", "estimate"] == pytest.approx(expected, abs=1e-3)
    assert "trained once" in found.loc["hds_vs_magnitude", "reason"]
    assert "hds_tuned_vs_magnitude_tuned" not in found.index
    identical = analyse(windows(dense=0.0, magnitude=0.0), SPEC.step_spec("analyse_masks", {}))
    row = identical[identical["contrast"] == "magnitude_vs_dense"].iloc[0]
    assert row["verdict"] == "degenerate" and row["reason"].startswith("identical")


def test_the_table_names_controls_and_what_is_missing() -> None:
    data = windows(dense=0.0, magnitude=20.0, hds=10.0)
    built = table(analyse(data, SPEC.step_spec("analyse_masks", {})), "ci")
    learned = built[built["mask"] == "learned, weights frozen"].iloc[0]
    assert learned["control"] == "largest magnitudes of each group"
    assert learned["verdict"] == "lower" and learned["n_windows"] == 40
    assert learned["changed_groups"] == 0.25 and built["changed_groups"].notna().sum() == 1
    missing = built[built["provenance"] == "not_run"]
    assert set(missing["verdict"]) <= {"not_run", ""} and len(missing) == 3
    assert "learned, weights frozen" in to_markdown(built)
    empty = analyse(data.iloc[:0], SPEC.step_spec("analyse_masks", {}))
    assert table(empty, "paper").empty


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"temperature": [1.0, 0.0]}, "must be positive"),
        ({"train": {"tokens": 100, "lr": 0.1}}, "in steps"),
        ({"variants": ["hds", "guessed"]}, "variants"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        validate(MasksSpec, SETTINGS | change, "test")
