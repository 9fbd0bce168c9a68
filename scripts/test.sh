#!/usr/bin/env bash
# Installs into .venv, lints, type-checks and tests in two processes of one thread. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/install.sh test
export MEDFM_OFFLINE=1 HF_HUB_OFFLINE=1 OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
# Bytecode is kept: every process that a test starts would compile the package anew.
unset PYTHONDONTWRITEBYTECODE
# Through "python -m": the scripts in .venv/bin name the folder they were installed in.
.venv/bin/python -m ruff check medfm tests scripts
# Types are checked by one core; the other compiles the tests meanwhile, so that not every process does.
.venv/bin/python -m pytest --collect-only -q "$@" >/dev/null 2>&1 &
trap 'kill $! 2>/dev/null || true' EXIT
.venv/bin/python -m mypy
wait
# One file stays in one process, so that what a file prepares once is prepared once; slow files come first (tests/conftest.py),
# not those of many tests, so that neither process waits long for the other at the end.
.venv/bin/python -m pytest -n "${MEDFM_TEST_PROCESSES:-2}" --dist loadfile --no-loadscope-reorder "$@"
