"""Statistics of Table 1, under the original script's name."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ["table1"]
COMMAND = ["snakemake", *TARGETS, *sys.argv[1:]]
sys.exit(subprocess.call([sys.executable, "-m", *COMMAND], cwd=ROOT))
