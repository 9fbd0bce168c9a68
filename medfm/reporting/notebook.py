"""What a notebook shows of a result: small, without pictures or scripts, every value escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from medfm.reporting.banners import banners
from medfm.reporting.verdict import verdict
from medfm.reporting.words import figure, interval, word

if TYPE_CHECKING:
    from medfm.reporting.result import Result


def text_block(text: str) -> str:
    """Plain text in a fixed-width block."""
    return f'<pre style="white-space:pre-wrap">{escape(text)}</pre>'


def result_block(result: Result) -> str:
    """Title, warnings, verdict and the headline figures; ``result.save(DIR)`` writes the whole report."""
    warnings = [b for b in banners(result) if b.level != "note"]
    lines = [f"<p><strong>{escape(result.title)}</strong></p>"]
    lines += [f"<p>⚠ <strong>{escape(b.title)}.</strong> {escape(b.text)}</p>" for b in warnings]
    lines.append(f"<p>{escape(verdict(result))}</p>")
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(word(e.metric).title)}</th>"
        f"<td>{escape(figure(e.value))}</td><td>{escape(interval(e))}</td></tr>"
        for e in result.summary.headline
    )
    return "\n".join([*lines, f"<table><tbody>{rows}</tbody></table>"])
