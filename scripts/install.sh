#!/usr/bin/env bash
# Creates .venv (Python 3.10 or later) and installs medfm into it; the argument names extras.
# PYTHON=/path/to/python chooses another interpreter. An interrupted installation goes on.
set -euo pipefail
cd "$(dirname "$0")/.."
extras="${1:-}"
python="${PYTHON:-python3}"
venv=".venv/bin/python"
# A link to an interpreter that is gone, or a half-made folder, counts as no environment yet.
if ! "$venv" -c '' 2>/dev/null; then
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))'; then
    echo "medfm needs Python 3.10 or later; set PYTHON to one (found: $("$python" --version 2>&1 || true))." >&2
    exit 2
  fi
  "$python" -m venv .venv
elif [ -n "${PYTHON:-}" ]; then
  wanted="$("$python" --version 2>&1 || true)"
  found="$("$venv" --version 2>&1)"
  [ "$wanted" = "$found" ] || echo "Note: .venv has $found and is kept; remove it to use $wanted." >&2
fi
if ! "$venv" -m pip --version >/dev/null 2>&1 && ! "$venv" -m ensurepip --upgrade >/dev/null 2>&1; then
  echo "The environment .venv has no pip and cannot get one; remove .venv and run this again." >&2
  exit 2
fi
# The mark is written last and holds the folder: a moved or copied checkout is installed anew.
mark=".venv/.installed${extras:+-$extras}"
if [ ! -f "$mark" ] || [ pyproject.toml -nt "$mark" ] || [ "$(cat "$mark")" != "$PWD" ]; then
  # Compiled afterwards by all cores: pip does it with one. What cannot be compiled is nobody's module.
  "$venv" -m pip install --quiet --disable-pip-version-check --no-compile -e ".${extras:+[$extras]}"
  "$venv" -m compileall -q -j 0 .venv/lib >/dev/null 2>&1 || true
  printf '%s\n' "$PWD" >"$mark"
fi
