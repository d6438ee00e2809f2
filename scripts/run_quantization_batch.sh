#!/usr/bin/env bash
# All runs of Figure 2, and their summary, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake table14 "$@"
