"""Table 1 and its summary from the runs of `quickstart` alone, under the original script's name."""

import os
import sys
from pathlib import Path

OVERLAY = ["--configfile", "config/overlays/quickstart.yaml"]
COMMAND = ["snakemake", "table1", "results_summary", *OVERLAY, *sys.argv[1:]]
os.chdir(Path(__file__).resolve().parents[1])
os.execv(sys.executable, [sys.executable, "-m", *COMMAND])
