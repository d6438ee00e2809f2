"""Table 1 and its summary, under the original script's name."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ["table1", "results_summary"]
COMMAND = ["snakemake", *TARGETS, *sys.argv[1:]]
os.chdir(ROOT)
# In its place: Ctrl-C must reach Snakemake, which ends its jobs and unlocks the folder.
os.execv(sys.executable, [sys.executable, "-m", *COMMAND])
