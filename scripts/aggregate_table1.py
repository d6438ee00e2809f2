"""Table 1 and its summary, under the original script's name."""

import os
import sys
from pathlib import Path

COMMAND = ["snakemake", "table1", "results_summary", *sys.argv[1:]]
os.chdir(Path(__file__).resolve().parents[1])
os.execv(sys.executable, [sys.executable, "-m", *COMMAND])
