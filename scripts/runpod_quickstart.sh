#!/usr/bin/env bash
# The minimal set of experiments at paper scale, on the pod, under the original script's name.
set -euo pipefail
cd "$(dirname "$0")/.."
exec snakemake quickstart --profile runpod --configfile config/overlays/quickstart.yaml "$@"
