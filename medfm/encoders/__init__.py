"""Model cards, registry, weights, key maps, preprocessing and architectures."""

from __future__ import annotations

import importlib
from typing import Any

# name -> module that holds it; imported on first use (PEP 562), since most of them need torch.
_PUBLIC = {
    "Card": "medfm.encoders.card",
    "Encoder": "medfm.encoders.encoder",
    "KeyReport": "medfm.encoders.keymaps",
    "Preprocessing": "medfm.encoders.preprocessing",
    "add_search_path": "medfm.encoders.registry",
    "build": "medfm.encoders.published",
    "get_card": "medfm.encoders.registry",
    "list_cards": "medfm.encoders.registry",
    "list_encoders": "medfm.encoders.registry",
    "load_encoder": "medfm.encoders.load",
    "load_published": "medfm.encoders.published",
    "save_encoder": "medfm.encoders.save",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    module = _PUBLIC.get(name)
    if module is None:
        raise AttributeError(f"module 'medfm.encoders' has no attribute '{name}'")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return __all__
