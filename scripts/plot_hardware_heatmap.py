"""Figure 5, under the original script's name."""

import os
import sys
from pathlib import Path

COMMAND = ["snakemake", "fig5", *sys.argv[1:]]
os.chdir(Path(__file__).resolve().parents[1])
os.execv(sys.executable, [sys.executable, "-m", *COMMAND])
