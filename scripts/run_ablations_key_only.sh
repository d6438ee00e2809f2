#!/usr/bin/env bash
# The runs of the key ablations on the Mamba, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake ablations_key "$@"
