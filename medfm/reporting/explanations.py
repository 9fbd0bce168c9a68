"""Where an encoder looked in the surest errors: the pictures for a report, and what it says of them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from medfm.encoders.explain_picture import HeatMap
from medfm.reporting.error_pictures import picture_uri
from medfm.reporting.heat_overlay import overlay
from medfm.reporting.result import Result
from medfm.reporting.thumbnails import eight_bit

KEY = "explanations"
EDGE = 256  # pixels of the longer side of one panel

_METHODS = {
    "grad_cam": "Grad-CAM: warm places raise the score of the class that is named below the picture.",
    "attention_rollout": "Attention roll-out: warm places are those that reach the transformer's class token through all "
    "its layers. It is the same whatever is asked: it does not say what speaks for a class.",
}
_LIMITS = (
    "A heat map shows where the encoder looked, not why, and not where a finding is: its edge is no outline, and it is as "
    "coarse as the network's last layer. Colours run from zero to the largest value of each map, so they cannot be compared "
    "between maps. Darkened parts were not seen by the encoder."
)
_UNTRAINED = "The weights of this encoder are untrained, so where it looked means nothing."


def panels(picture: np.ndarray, heats: Sequence[HeatMap]) -> tuple[bytes, tuple[int, int]]:
    """One JPEG of the picture and, to its right, one overlay per heat map; and width and height of each panel.

    Args:
        picture: uint8 (H, W, 3) or (H, W), as it was read (uint16 and float as of thumbnails).
        heats: Of this picture.
    """
    image = Image.fromarray(eight_bit(picture)).convert("RGB")
    image.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    small = np.asarray(image)
    row = [small, *(overlay(small, heat.on_scaled((small.shape[0], small.shape[1]))) for heat in heats)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue(), (small.shape[1], small.shape[0])


def explanations_context(result: Result, errors: Sequence[Mapping[str, str]]) -> dict[str, Any] | None:
    """What the partial template shows; ``None`` where nothing was asked for or there are no errors."""
    entry = result.extras.get(KEY)
    if not isinstance(entry, Mapping) or not errors:
        return None
    if "why_not" in entry:
        return {"why_not": entry["why_not"], "shown": [], "rest": [], "words": [], "notes": []}
    known = entry["records"]
    shown, rest = [], []
    for error in errors:
        about = known.get(error["id"])
        uri = picture_uri(result.thumbnails.get(error["id"]))
        if about is None or not uri:
            rest.append(error)
            continue
        count = len(about["panels"])
        cells = [
            {
                "title": _title(panel),
                "alt": f"Record {error['id']}: {_title(panel)}",
                # Percentages of what a background can move: the first panel at 0, the last at 100.
                "place": f"{100 * i / (count - 1):.4g}" if count > 1 else "0",
                "heat": i > 0,
            }
            for i, panel in enumerate(about["panels"])
        ]
        shown.append({**error, "uri": uri, "panels": cells, "size": about["size"], "count": count})
    if not shown:
        return {
            "why_not": "; ".join(entry["notes"]) or "no picture could be drawn",
            "shown": [], "rest": [], "words": [], "notes": [],
        }  # fmt: skip
    words = [_METHODS[entry["method"]] + (f" {entry['score']}" if entry.get("score") else ""), _LIMITS]
    if result.provenance.get("weights_kind") == "random":
        words.append(_UNTRAINED)
    return {"why_not": "", "shown": shown, "rest": rest, "words": words, "notes": entry["notes"]}


def _title(panel: Mapping[str, Any]) -> str:
    role, name = panel["role"], panel.get("class", "")
    if role == "picture":
        return "the picture"
    if role == "attention":
        return "where the encoder looked"
    words = {"predicted": f"for “{name}” (predicted)", "truth": f"for “{name}” (truth)", "label": f"for “{name}”"}
    title = words.get(role, f"for {name}")
    return title + (": nothing speaks for it" if panel.get("empty") else "")
