#!/usr/bin/env bash
# Installs into .venv, lints, type-checks and tests. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh test
export MEDFM_OFFLINE=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}"
# Through "python -m": the scripts in .venv/bin name the folder they were installed in.
.venv/bin/python -m ruff check medfm tests scripts
.venv/bin/python -m mypy
.venv/bin/python -m pytest "$@"
