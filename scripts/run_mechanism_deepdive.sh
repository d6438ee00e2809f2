#!/usr/bin/env bash
# Table 3, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake table3 "$@"
