"""Checks X001 to X009 and X011 in every workflow, from what was seen at a glance while radiographs were embedded.

No file is opened for them. They are warnings here: a glance is a measurement and may be wrong, and the figures say for themselves
what a fault costs. ``medfm data check`` looks longer, and X001 is an error there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from medfm.cohorts.checks.chest import LATERAL, mixed_views, shares_of_views, told_views
from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding
from medfm.modalities.chest_judgements import ODD_HEADERS, Glance

_JUDGED = (
    ("X001", Glance.NEGATIVE, "look like negatives: the lungs are brighter than the heart"),
    ("X002", Glance.NOT_UPRIGHT, "are not upright"),
    ("X004", Glance.STRANGE, "are unlike a frontal chest radiograph"),
)
_VIEWS = ((Glance.LATERAL, "LL"), (Glance.PA, "PA"), (Glance.AP, "AP"))


def check_glances(cohort: Cohort, glances: Mapping[str, int], target: str | None = None) -> Iterator[Finding]:
    """Findings on the records of `cohort`.

    Args:
        cohort: Radiographs; for another modality there is nothing to say.
        glances: Record id -> bits of :class:`~medfm.modalities.chest_judgements.Glance`; a record that was not looked at is
            absent. The column ``view`` of the table goes before what files say.
        target: A categorical target, for X011.
    """
    if cohort.modality != "chest_xray":
        return
    ids = cohort.record_ids
    seen = [(name, Glance(int(glances[name]))) for name in ids if glances.get(name)]
    views = told_views(cohort, [_view(Glance(int(glances.get(name, 0)))) for name in ids])
    if not seen and not any(view != "unknown" for view in views.values()):
        return
    frontal = [(name, mark) for name, mark in seen if views[name] not in LATERAL]
    looked = f"{count(len(seen), 'radiograph')} looked at" + ("" if len(seen) == len(ids) else f", of {len(ids):,}")
    for code, bit, words in _JUDGED if seen else ():
        bad = [name for name, mark in frontal if bit in mark]
        detail = f"{len(bad):,} of {count(len(frontal), 'radiograph')} {words}"
        yield found(code, "warning", detail, bad) if bad else passed(code, looked)
    looked_at = {name for name, _ in seen}
    yield mixed_views({name: view for name, view in views.items() if view != "unknown" or name in looked_at})
    if seen:
        yield from _headers(seen, looked)
    if target is not None:
        yield from shares_of_views(cohort, target, views)


def _headers(seen: Sequence[tuple[str, Glance]], looked: str) -> Iterator[Finding]:
    """X007, by the header alone, and X009."""
    written = [name for name, mark in seen if Glance.WRITTEN in mark]
    if written:  # what no header says has not been looked for
        detail = f"{len(written):,} of {count(len(seen), 'radiograph')} have writing in the picture: the header says so"
        yield found("X007", "warning", detail, written)
    odd = [(name, words) for name, mark in seen for bit, words in ODD_HEADERS.items() if bit in mark]
    if odd:
        listed = ", ".join(f"{number:,} x {words}" for words, number in Counter(w for _, w in odd).most_common())
        detail = f"{len(odd):,} of {count(len(seen), 'radiograph')} have a header that does not fit: {listed}"
        yield found("X009", "warning", detail, [name for name, _ in odd])
    else:
        yield passed("X009", looked)


def _view(mark: Glance) -> str:
    return next((view for bit, view in _VIEWS if bit in mark), "unknown")
