"""Step: the facts that the caption of Figure 2 states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from seqlab.provenance.atomic import write_json
from seqlab.spec import In, Ins, Out
from seqlab.studies.codesign.quantization.spec import FactsSpec


def facts_quantization(
    spec: FactsSpec, *, models: Ins, baselines: Ins, statistics: In, facts: Out
) -> None:
    """Write what the caption names: n, protocol, and each model beside its baselines."""
    rows = pd.read_csv(statistics)
    devices = sorted(rows["device"].unique()) if len(rows) else []
    by_corpus = {path.parent.name + "/" + path.stem: path for path in baselines}
    write_json(
        facts,
        {
            "scale": spec.scale,
            "n_models": len(models),
            "n": spec.seeds,
            "quality_windows": (
                f"{spec.quality.windows} held-out windows of {spec.quality.length} tokens per run"
            ),
            "latency_margin": f"{spec.margins.latency:.0%}".replace("%", " %"),
            "planted": f"{spec.planted_slowdown:.0%}".replace("%", " %"),
            "devices": "; ".join(devices) or "no device: nothing was measured",
            "models": [
                _model(path, name, by_corpus[corpus])
                for path, name, corpus in zip(models, spec.models, spec.corpora, strict=True)
            ],
        },
    )


def _model(folder: Path, name: str, baselines: Path) -> dict[str, Any]:
    training = json.loads((folder / "training.json").read_text("utf-8"))
    ours = float(training["held_out"]["bits_per_byte"])
    found = json.loads(baselines.read_text("utf-8"))["bits_per_byte"]
    return {
        "name": name,
        "parameters": f"{training['parameters']:,}",
        "tokens": f"{training['tokens']:,}",
        "bits_per_byte": f"{ours:.3f}",
        "baselines": [
            {
                "name": _baseline_name(key),
                "bits_per_byte": f"{value:.3f}",
                "distance": f"{ours - value:+.3f}",
            }
            for key, value in found.items()
        ],
    }


def _baseline_name(key: str) -> str:
    """Return what the caption calls a baseline."""
    names = {
        "xz": "xz -9 of the held-out text alone",
        "xz_given_seen": "xz -9 given the training text",
    }
    return names.get(key, key.replace("_", " ").replace("gram", "-gram"))
