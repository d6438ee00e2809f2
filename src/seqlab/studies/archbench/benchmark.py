"""Options of the original's benchmark script, as a target of Snakemake."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

TARGET = "archbench_benchmark"


def command(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the Snakemake command of the original's options, and the variables it reads them from.

    All other arguments are handed on. Not as settings: one more `--config` would take the place of
    another one, or of all settings of a profile.

    Raises:
        SystemExit: Neither architectures nor tasks nor --all are given, or both.
    """
    parser = argparse.ArgumentParser(prog="run_benchmark.py", allow_abbrev=False)
    parser.add_argument("--architectures", type=_names, help="names, separated by commas")
    parser.add_argument("--tasks", type=_names, help="names, separated by commas")
    parser.add_argument("--all", action="store_true", help="every architecture on every task")
    known, rest = parser.parse_known_args(arguments)
    if known.all == bool(known.architectures or known.tasks):
        parser.error("give --architectures, --tasks or both of them, or --all alone")
    chosen = {"architectures": known.architectures, "tasks": known.tasks}
    variables = {variable(name): value for name, value in chosen.items() if value}
    return ["snakemake", TARGET, *rest], variables


def variable(name: str) -> str:
    """Return the environment variable that holds a choice of names."""
    return f"SEQLAB_{name.upper()}"


def main(arguments: Sequence[str], root: Path) -> None:
    """Become that command, in the checkout: Ctrl-C must reach Snakemake, which ends its jobs."""
    line, variables = command(arguments)
    os.chdir(root)
    os.execve(sys.executable, [sys.executable, "-m", *line], {**os.environ, **variables})


def _names(text: str) -> str:
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise argparse.ArgumentTypeError(f"an empty name in {text!r}")
    return ",".join(names)
