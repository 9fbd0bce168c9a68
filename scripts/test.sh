#!/usr/bin/env bash
# Installs into .venv, lints, type-checks and tests in two processes of one thread. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh test
export MEDFM_OFFLINE=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Through "python -m": the scripts in .venv/bin name the folder they were installed in.
.venv/bin/python -m ruff check medfm tests scripts
.venv/bin/python -m mypy
# One file stays in one process, so that what a file prepares once is prepared once; slow files come first (tests/conftest.py),
# not those of many tests, so that neither process waits long for the other at the end.
.venv/bin/python -m pytest -n "${MEDFM_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
