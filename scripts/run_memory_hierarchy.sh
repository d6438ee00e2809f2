#!/usr/bin/env bash
# Table 5, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake table5 "$@"
