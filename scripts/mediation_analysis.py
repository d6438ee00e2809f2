"""Mediation: table and figure, under the original script's name."""

import os
import sys
from pathlib import Path

COMMAND = ["snakemake", "table_mediation", "fig_mediation", *sys.argv[1:]]
os.chdir(Path(__file__).resolve().parents[1])
os.execv(sys.executable, [sys.executable, "-m", *COMMAND])
