#!/usr/bin/env bash
# The runs of Figure 2 on Mambas, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake quantization_mamba_only "$@"
