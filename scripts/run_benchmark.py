"""The benchmark, under the original's options: --architectures, --tasks, --all."""

import sys
from pathlib import Path

from seqlab.studies.archbench.benchmark import main

main(sys.argv[1:], Path(__file__).resolve().parents[1])
