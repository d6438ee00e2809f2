"""Step: merge the lineage of all items into one manifest."""

from __future__ import annotations

from pathlib import Path

from seqlab.paper.spec import ScaleSpec
from seqlab.spec import Ins, Out


def merge_manifest(spec: ScaleSpec, *, artefacts: Ins, manifest: Out) -> None:
    """Walk back from `artefacts` to their sources and write hash, step and inputs of everything."""
    from seqlab.provenance.manifest import write_manifest

    write_manifest(Path.cwd(), spec.scale, artefacts, manifest)
