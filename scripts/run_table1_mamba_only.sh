#!/usr/bin/env bash
# The runs of Table 1 on the Mamba, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake table1_mamba_only "$@"
