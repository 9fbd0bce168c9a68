"""What a run changed in the protocol whose name it bears."""

from __future__ import annotations

from typing import Any

from medfm.evaluation.protocol import Protocol, list_protocols, load_protocol
from medfm.reporting.tables import flat

_NOT_SETTINGS = ("title", "source", "deviations")
# Where a file lies on this machine, and what the cohort calls its labels, change no procedure.
_PLACES = ("method.prompt_file", "method.label_set", "method.prompts.prompt_file", "method.prompts.label_set")


def protocol_changes(protocol: Protocol) -> list[str]:
    """One line per setting that differs from the shipped protocol of the same id.

    Empty for an unchanged protocol, and for one that this package does not ship.
    """
    if protocol.id not in list_protocols():
        return []
    used, shipped = _settings(protocol), _settings(load_protocol(protocol.id))
    return [
        f"{key}: {used.get(key, 'not set')} (the protocol has {shipped.get(key, 'nothing')})"
        for key in dict.fromkeys([*shipped, *used])
        if used.get(key) != shipped.get(key) and key not in _PLACES
    ]


def _settings(protocol: Protocol) -> dict[str, str]:
    values: dict[str, Any] = {k: v for k, v in protocol.to_dict().items() if k not in _NOT_SETTINGS}
    return dict(flat(values))
