"""Figure 7b, under the original script's name."""

import os
import sys
from pathlib import Path

COMMAND = ["snakemake", "fig7b", *sys.argv[1:]]
os.chdir(Path(__file__).resolve().parents[1])
os.execv(sys.executable, [sys.executable, "-m", *COMMAND])
