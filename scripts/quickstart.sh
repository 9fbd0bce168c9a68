#!/usr/bin/env bash
# From a fresh clone to a report: installs into .venv, then runs the demo offline.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh
export MEDFM_OFFLINE=1 HF_HUB_OFFLINE=1
exec .venv/bin/python -m medfm demo --out runs/demo --overwrite "$@"
