#!/usr/bin/env bash
# The runs of Table 3 and of the mechanism on the Mamba, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake mechanism_mamba_only "$@"
