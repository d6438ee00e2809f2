#!/usr/bin/env bash
# Figure 4, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake fig4 "$@"
