"""Options of the original's benchmark script, as targets and settings of Snakemake."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TARGET = "archbench_benchmark"


def command(arguments: Sequence[str]) -> list[str]:
    """Return the Snakemake command of the original's options; all others are handed on.

    Raises:
        SystemExit: Neither architectures nor tasks nor --all are given.
    """
    parser = argparse.ArgumentParser(prog="run_benchmark.py", allow_abbrev=False)
    parser.add_argument("--architectures", help="names, separated by commas")
    parser.add_argument("--tasks", help="names, separated by commas")
    parser.add_argument("--all", action="store_true", help="every architecture on every task")
    known, rest = parser.parse_known_args(arguments)
    if not (known.all or known.architectures or known.tasks):
        parser.error("give --architectures and --tasks, or --all")
    values = {"architectures": known.architectures, "tasks": known.tasks}
    chosen = [] if known.all else [f"{name}={value}" for name, value in values.items() if value]
    if chosen:
        # Snakemake reads one list of settings.
        at = rest.index("--config") + 1 if "--config" in rest else len(rest)
        rest[at:at] = chosen if "--config" in rest else ["--config", *chosen]
    return ["snakemake", TARGET, *rest]


def main(arguments: Sequence[str], root: Path) -> int:
    """Run the command in the checkout; return its exit status."""
    return subprocess.call([sys.executable, "-m", *command(arguments)], cwd=root)
