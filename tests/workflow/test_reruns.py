"""An edit reruns exactly what depends on it: the dry run's rules after each kind of edit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from workflow_checkout import Checkout

CI = ("--profile", "workflow/profiles/ci")
RUN = {"codesign_run_quantization"}
AFTER_RUN = {
    "codesign_collect_quantization",
    "codesign_analyse_quantization",
    "codesign_draw_quantization",
    "codesign_tabulate_quantization",
    "codesign_facts_quantization",
    "paper_number_figure",
    "paper_number_table",
    "paper_write_caption",
    "paper_judge_claims",
    "paper_draw_claims",
    "paper_draw_contact_sheet",
    "paper_merge_manifest",
    "all",
}
MODEL_STEPS = {"assets_init_model", "assets_train_model", "codesign_solve_quantization_layouts"} | RUN


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """Replace one text in a file, and put the file back with the times it had."""
    original, stat = path.read_text("utf-8"), path.stat()
    assert original.count(old) >= 1, f"{path} does not hold {old!r}"
    path.write_text(original.replace(old, new, 1), "utf-8")
    try:
        yield
    finally:
        path.write_text(original, "utf-8")
        import os

        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
