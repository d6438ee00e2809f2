"""Figure 2, under the original script's name."""

import subprocess
import sys

TARGET = "figures/fig2.pdf"
sys.exit(
    subprocess.call([sys.executable, "-m", "snakemake", TARGET, "--cores", "all", *sys.argv[1:]])
)
