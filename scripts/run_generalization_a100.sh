#!/usr/bin/env bash
# The row of this device in Table 8, and Figure 5, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake table8 fig5 "$@"
