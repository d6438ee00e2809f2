"""Summary and statistics of Figure 2, under the original script's name."""

import subprocess
import sys

TARGET = "results/laptop/codesign/quantization/summary.csv"
sys.exit(
    subprocess.call([sys.executable, "-m", "snakemake", TARGET, "--cores", "all", *sys.argv[1:]])
)
