#!/usr/bin/env bash
# Tables 9 to 11, 13 and 16, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake table9 table10 table11 table13 table16 "$@"
