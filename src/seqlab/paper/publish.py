"""Copy an artefact's files to their numbered names, matched by suffix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from seqlab.errors import UserError
from seqlab.provenance.atomic import write_bytes


def publish(sources: Sequence[Path], targets: Sequence[Path]) -> None:
    """Copy each source to the target of the same suffix.

    Raises:
        UserError: No source has a target's suffix, or a target cannot be written.
    """
    by_suffix = {source.suffix: source for source in sources}
    for target in targets:
        if target.suffix not in by_suffix:
            raise UserError(f"no source with suffix {target.suffix}", where=str(target))
        write_bytes(target, by_suffix[target.suffix].read_bytes())
