"""Open the architecture of a run."""

from __future__ import annotations

from pathlib import Path

from seqlab.studies.codesign.workbench.spec import ArchitectureSpec
from seqlab.studies.codesign.workbench.subject import Subject


def open_subject(
    name: str, spec: ArchitectureSpec, assets: list[Path], seed: int, device: str
) -> Subject:
    """Return the architecture with its weights and inputs.

    Args:
        name: Name of the architecture.
        spec: Its settings.
        assets: What `workflow/rules/codesign_experiments.smk` hands over for its kind.
        seed: Seed of the run.
        device: `cpu` or a CUDA device.

    Raises:
        UserError: An asset is missing or damaged.
    """
    if spec.kind == "mamba":
        from seqlab.studies.codesign.workbench.mamba import MambaSubject

        return MambaSubject(name, spec, assets, seed, device)
    if spec.kind == "bert":
        from seqlab.studies.codesign.workbench.bert import BertSubject

        return BertSubject(name, spec, assets, seed, device)
    if spec.kind == "resnet":
        from seqlab.studies.codesign.workbench.resnet import ResNetSubject

        return ResNetSubject(name, spec, assets, seed, device)
    from seqlab.studies.codesign.workbench.graph import GraphSubject

    return GraphSubject(name, spec, assets, seed, device)
