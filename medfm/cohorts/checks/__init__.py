"""Coded checks of a cohort: tables T, files F, leakage L, units and pixels U, ECGs E, statistics S."""

from medfm.cohorts.checks.codes import CODES, Check
from medfm.cohorts.checks.run import run_checks

__all__ = ["CODES", "Check", "run_checks"]
