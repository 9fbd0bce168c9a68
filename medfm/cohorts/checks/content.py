"""Deep checks: files (F002, F004), copies (L002 to L005), pixels (U), signals (E), patches (H), fundus (R), volumes (M),
chest radiographs (X).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from medfm.cohorts.checks.chest import check_chests, check_views
from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.checks.fundus import check_fundus
from medfm.cohorts.checks.near import near_pairs
from medfm.cohorts.checks.patches import check_patches
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.checks.signals import check_signals
from medfm.cohorts.checks.table import Target
from medfm.cohorts.checks.volumes import check_volumes
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding

# Standard deviation, in grey levels of 255, below which a picture shows nothing.
BLANK = 1.0
SMALLEST = 16
_REASONS = 8  # that are told apart in one finding


def check_content(cohort: Cohort, seen: Sequence[Seen], target: Target | None) -> Iterator[Finding]:
    """All deep checks, from one :func:`medfm.cohorts.checks.scan.scan`."""
    yield from _readable(cohort, seen)
    yield from check_signals(cohort, seen)
    yield from check_patches(cohort, seen)
    yield from check_fundus(cohort, seen)
    yield from check_volumes(cohort, seen)
    yield from check_chests(cohort, seen)
    yield from check_views(cohort, target if isinstance(target, str) else None, seen)
    if all(s.error for s in seen):
        return  # nothing was read, so nothing may be called passed
    yield from check_copies(cohort, [s.key for s in seen], target)
    if any(s.mark is not None for s in seen):
        yield _near(cohort, seen)
    if any(s.picture for s in seen):
        yield from _pixels(cohort, seen)


def short(record: str) -> str:
    """An id that may be a long path, by its end."""
    return record if len(record) <= 40 else f"...{record[-37:]}"


def _readable(cohort: Cohort, seen: Sequence[Seen]) -> Iterator[Finding]:
    ids = cohort.record_ids
    bad = [i for i, s in enumerate(seen) if s.error]
    if bad:
        reasons = Counter(str(seen[i].error) for i in bad).most_common()
        first = {str(seen[i].error): ids[i] for i in reversed(bad)}
        # With one reason the records below say whose it is.
        whose = {reason: f" (first: {short(first[reason])})" for reason in first} if len(reasons) > 1 else {}
        listed = "; ".join(f"{n} x {reason.rstrip('.')}{whose.get(reason, '')}" for reason, n in reasons[:_REASONS])
        listed += f"; {count(len(reasons) - _REASONS, 'other reason')}" if len(reasons) > _REASONS else ""
        yield found("F002", "error", f"{len(bad):,} of {count(len(seen), 'record')}: {listed}", [ids[i] for i in bad])
    else:
        yield passed("F002", count(len(seen), "record"))
    named = [i for i, s in enumerate(seen) if s.facts.get("notes")]
    if named:
        first = seen[named[0]].facts["notes"][0]
        yield found("F004", "info", f"{count(len(named), 'record')}: {first}", [ids[i] for i in named])
    else:
        yield passed("F004")


def check_copies(cohort: Cohort, keys: Sequence[str | None], target: Target | None) -> Iterator[Finding]:
    """L002, L003 (with a `target`) and L004, from one content key per row (``None`` = not known)."""
    table = cohort.table.assign(_key=pd.Series(list(keys), dtype=object)).dropna(subset=["_key"])
    same = table[table.duplicated("_key", keep=False)]
    splits = same.dropna(subset=["split"]).groupby("_key")["split"].nunique()
    across = set(splits[splits > 1].index)
    rows = same[same["_key"].isin(across)]
    if across:
        yield found("L002", "error", f"{count(len(across), 'file')} with the same bytes in two splits", _pairs(rows))
    else:
        yield passed("L002", "SHA-256 of file and box")
    if target is not None:
        names = [target] if isinstance(target, str) else list(target)
        torn = set()
        for name in names:
            labels = same.dropna(subset=[name]).groupby("_key")[name].nunique()
            torn |= set(labels[labels > 1].index)
        rows = same[same["_key"].isin(torn)]
        if torn:
            what = f"different values of '{target}'" if isinstance(target, str) else "different labels"
            detail = f"{count(len(torn), 'file')} appear with {what}"
            yield found("L003", "error", detail, _pairs(rows))
        else:
            yield passed("L003")
    within = same[~same["_key"].isin(across)]
    if len(within):
        detail = f"{count(len(within), 'record')} share {count(within['_key'].nunique(), 'content')}"
        yield found("L004", "warning", detail, _pairs(within))
    else:
        yield passed("L004")


def _pairs(rows: pd.DataFrame) -> list[str]:
    """Record ids with the copies of one file beside each other."""
    return [str(v) for v in rows.sort_values("_key", kind="stable")["record_id"]]


def _near(cohort: Cohort, seen: Sequence[Seen]) -> Finding:
    splits = cohort.table["split"].tolist()
    parts = {
        name: [i for i, s in enumerate(seen) if splits[i] == name and s.mark is not None and s.spread >= BLANK]
        for name in ("train", "val", "test")
    }
    pairs: list[tuple[int, int]] = []
    for one, other in (("train", "test"), ("train", "val"), ("val", "test")):
        left, right = parts[one], parts[other]
        marks = [[m for i in side if (m := seen[i].mark) is not None] for side in (left, right)]
        pairs += [(left[i], right[j]) for i, j in near_pairs(*marks) if seen[left[i]].key != seen[right[j]].key]
    if not pairs:
        where = "between splits" if sum(map(bool, parts.values())) > 1 else "no second split to compare with"
        return passed("L005", where)
    ids = cohort.record_ids
    shown = [ids[i] for pair in pairs for i in pair]
    return found("L005", "error", f"{count(len(pairs), 'pair')} of images that look like copies of each other", shown)


def _pixels(cohort: Cohort, seen: Sequence[Seen]) -> Iterator[Finding]:
    ids = cohort.record_ids
    read = [(i, s) for i, s in enumerate(seen) if s.error is None and s.picture]
    if not read:
        return
    blank = [ids[i] for i, s in read if s.spread < BLANK]
    yield found("U001", "warning", f"{count(len(blank), 'image')} of one colour", blank) if blank else passed("U001")
    deep = [(i, s) for i, s in read if "source_max" in s.facts]
    top = max((int(s.facts["source_max"]) for _, s in deep), default=65535)
    if deep and top < 2**14:
        bits = max(top.bit_length(), 1)
        detail = f"{count(len(deep), 'image')} of 16 bits never exceed {top}: {bits}-bit data in a 16-bit container"
        yield found("U002", "warning", detail + ", so they come out dark", [ids[i] for i, _ in deep])
    else:
        yield passed("U002", f"{count(len(deep), 'image')} of 16 bits" if deep else "all 8 bit")
    sizes = Counter(s.shape[:2] for _, s in read)
    if len(sizes) > 1:
        common = ", ".join(f"{w} x {h} ({n:,})" for (h, w), n in sizes.most_common(3))
        yield found("U003", "info", f"{len(sizes)} sizes, most often {common}")
    else:
        height, width = next(iter(sizes))
        yield passed("U003", f"{width} x {height}")
    small = [ids[i] for i, s in read if min(s.shape[:2]) < SMALLEST]
    detail = f"{count(len(small), 'image')} under {SMALLEST} pixels on a side"
    yield found("U004", "warning", detail, small) if small else passed("U004", f"at least {SMALLEST} pixels")
    odd = [ids[i] for i, s in read if s.grey or s.facts.get("alpha")]
    if odd and len(odd) < len(read):
        yield found("U005", "info", f"{count(len(odd), 'image')} grey or with transparency among colour images", odd)
    elif odd:
        yield found("U005", "warning", "all images are grey or have transparency; stained cells are in colour", odd)
    else:
        yield passed("U005")
