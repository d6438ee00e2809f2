#!/usr/bin/env bash
# All runs of Table 1, and its summary, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake table1 results_summary "$@"
