"""Offline mode: any attempt at a download is an error that says what to put where."""

from __future__ import annotations

import os

_TRUE = {"1", "true", "yes", "on"}


def is_offline() -> bool:
    """Whether ``MEDFM_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network."""
    return any(os.environ.get(name, "").strip().lower() in _TRUE for name in ("MEDFM_OFFLINE", "HF_HUB_OFFLINE"))
