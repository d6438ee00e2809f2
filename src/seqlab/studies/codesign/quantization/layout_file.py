"""The file of solved layouts: one permutation per block size and site, in original labels."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seqlab.errors import UserError
from seqlab.models.permuting import Layout, Site
from seqlab.provenance.record import write_samples


def write_layouts(path: Path, layouts: Mapping[int, Layout]) -> None:
    """Write the layout of each block size; equal layouts give equal bytes."""
    write_samples(
        path,
        {
            f"block{block}/{site}": permutation.indices
            for block, layout in layouts.items()
            for site, permutation in layout.permutations.items()
        },
    )


def read_layout(path: Path, sites: Mapping[str, Site], block: int) -> Layout:
    """Return the layout solved for blocks of `block` channels.

    Raises:
        UserError: The file is damaged, or holds no such layout, or a permutation that is none.
    """
    prefix = f"block{block}/"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            found = {
                name.removeprefix(prefix): archive[name]
                for name in archive.files
                if name.startswith(prefix)
            }
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"damaged layout file: {error}", where=str(path), fix="delete it") from None
    if not found:
        raise UserError(f"no layout for blocks of {block}", where=str(path), fix="delete the file")
    return Layout(sites, found)
