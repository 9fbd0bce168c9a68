"""Deep checks of recordings (E): limb leads, flat and clipped leads, mains hum, amplitudes, lengths, rates, gaps.

The measurements come from the one pass over the files; here they are judged. How often each check is right and how
often it is wrong was measured on real recordings by ``scripts/ecg_checks_rates.py``; docs/ecg.md has the figures.
Baseline wander is no error: it is taken off before anything is measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from medfm.cohorts.checks.codes import count, found, passed
from medfm.cohorts.checks.scan import Seen
from medfm.cohorts.cohort import Cohort
from medfm.cohorts.findings import Finding, Severity
from medfm.io.ecg.leads import LEADS
from medfm.io.ecg.units import blames_unit
from medfm.modalities.ecg_quality import Quality

# Sum over P, QRS and T of the cosines with V5 + V6, -3 to 3. Below this, the lead runs against them.
AGAINST = -0.5
# Mean of the P wave in I above that in II, mV.
P_EXCESS_MV = 0.025
# Root mean square of a limb lead's difference from what I and II make of it, as a share of that of I and II.
DISAGREEMENT = 0.1
CLIPPED_MS = 30.0
HUM_MV = 0.025
# Factor between a record and the cohort's median, and the range of that median (standard deviation in mV).
OUTLIER = 8.0
USUAL_MV = (0.015, 1.2)
SHORT_SECONDS = 5.0
MISSING_SHARE = 0.1
_ENOUGH = 5


def swapped(quality: Quality) -> str | None:
    """Which electrodes are swapped by the polarity of I and II: ``"RA/LA"``, ``"RA/LL"`` or ``None``."""
    fit = quality.limbs
    if fit is None or min(fit.one, fit.two) >= AGAINST:
        return None
    return "RA/LA" if fit.one <= fit.two else "RA/LL"


def arm_for_leg(quality: Quality) -> bool:
    """Whether the P wave hints at swapped left arm and left leg; right for about one swap in two."""
    fit = quality.limbs
    return fit is not None and swapped(quality) is None and fit.p_excess_mv > P_EXCESS_MV


def contradicting(quality: Quality) -> list[str]:
    """Stored limb leads that are not what I and II make of them."""
    return [lead for lead, share in quality.disagreement.items() if share > DISAGREEMENT]


def clipped(quality: Quality) -> list[str]:
    """Leads that stay at their own highest or lowest value."""
    return [lead for lead in LEADS if quality.clipped.get(lead, 0.0) >= CLIPPED_MS]


def hum(quality: Quality) -> int | None:
    """The mains frequency that is in the recording; the stronger one."""
    loudest = max(quality.hum_mv, key=lambda mains: quality.hum_mv[mains], default=None)
    return loudest if loudest is not None and quality.hum_mv[loudest] > HUM_MV else None


def off_scale(quality: Quality, median_mv: float) -> bool:
    """Whether the amplitude is far from the cohort's."""
    return not median_mv / OUTLIER <= quality.amplitude_mv <= median_mv * OUTLIER


def check_signals(cohort: Cohort, seen: Sequence[Seen]) -> Iterator[Finding]:
    """E001 to E010 of the recordings that could be read."""
    ids = cohort.record_ids
    read = [(ids[i], s.quality) for i, s in enumerate(seen) if isinstance(s.quality, Quality)]
    refused = [ids[i] for i, s in enumerate(seen) if s.error is not None and blames_unit(s.error)]
    if read:
        yield from _limbs(read)
        yield from _leads(read)
    if read or refused:
        yield _amplitudes(read, refused)
    if read:
        yield from _times(read)
        yield _gaps(read)


Read = Sequence[tuple[str, Quality]]


def _limbs(read: Read) -> Iterator[Finding]:
    judged = [(name, q) for name, q in read if q.limbs is not None]
    unjudged = f"; {count(len(read) - len(judged), 'record')} could not be judged" if len(judged) < len(read) else ""
    kinds = [(name, swapped(q)) for name, q in judged]
    turned = [(name, kind) for name, kind in kinds if kind is not None]
    if turned:
        detail = (
            f"{len(turned):,} of {count(len(judged), 'record')} look swapped: {_tally(k for _, k in turned)}{unjudged}"
        )
        yield found("E001", "warning", detail, [name for name, _ in turned])
    else:
        yield passed("E001", f"{count(len(judged), 'record')}{unjudged}")
    hinted = [name for name, q in judged if arm_for_leg(q)]
    if hinted:
        detail = (
            f"{len(hinted):,} of {count(len(judged), 'record')} have a larger P wave in I than in II: a hint, no more"
        )
        yield found("E002", "info", detail, hinted)
    else:
        yield passed("E002", f"{count(len(judged), 'record')}{unjudged}")
    wrong = [(name, leads) for name, q in read if (leads := contradicting(q))]
    if not wrong:
        checked = sum(bool(q.disagreement) for _, q in read)
        yield passed("E003", f"{count(checked, 'record')} with stored limb leads")
        return
    worst = max(max(q.disagreement.values(), default=0.0) for _, q in read)
    detail = (
        f"{len(wrong):,} of {count(len(read), 'record')} contradict III = II - I or Goldberger's equations, in "
        f"{_tally(lead for _, leads in wrong for lead in leads)}; by up to {worst:.0%} of I and II"
    )
    yield found("E003", _severity(len(wrong), len(read)), detail, [name for name, _ in wrong])


def _leads(read: Read) -> Iterator[Finding]:
    def of(code: str, leads: Callable[[Quality], Sequence[str]], words: str) -> Finding:
        bad = [(name, found_in) for name, q in read if (found_in := leads(q))]
        if not bad:
            return passed(code, count(len(read), "record"))
        tally = _tally(lead for _, found_in in bad for lead in found_in)
        return found(
            code, "warning", f"{len(bad):,} of {count(len(read), 'record')} {words}: {tally}", [n for n, _ in bad]
        )

    yield of("E004", lambda q: q.flat, "have leads without a signal")
    yield of("E005", clipped, "have leads that stay at their highest or lowest value")
    noisy = [(name, hum(q)) for name, q in read]
    humming = [(name, mains) for name, mains in noisy if mains is not None]
    blind = sum(not q.hum_mv for _, q in read)
    unseen = f"; {count(blind, 'record')} too slow or too short to see it" if blind else ""
    if humming:
        which = _tally(f"{mains} Hz" for _, mains in humming)
        detail = f"{len(humming):,} of {count(len(read), 'record')} have more than {1e3 * HUM_MV:g} uV of it: {which}{unseen}"
        yield found("E006", "warning", detail, [name for name, _ in humming])
    else:
        yield passed("E006", f"{count(len(read) - blind, 'record')}{unseen}")


def _amplitudes(read: Read, refused: Sequence[str]) -> Finding:
    if not read or len(refused) > len(read):
        detail = (
            f"{len(refused):,} of {count(len(read) + len(refused), 'record')} are a thousand times off and were refused"
        )
        return found("E007", "error", detail, refused)
    median = float(np.median([q.amplitude_mv for _, q in read]))
    low, high = USUAL_MV
    if not low <= median <= high:
        by = median / 0.15
        detail = (
            f"the recordings vary by {median:.3g} mV where ECGs vary by 0.05 to 0.5 mV: "
            f"about {by:.2g} times what is usual; raw values of a converter may have been taken for mV"
        )
        return found("E007", "error", detail, [name for name, _ in read])
    odd = [(name, q.amplitude_mv) for name, q in read if len(read) >= _ENOUGH and off_scale(q, median)]
    if not odd and not refused:
        return passed("E007", f"median {median:.2g} mV")
    parts = [f"{count(len(refused), 'record')} a thousand times off and refused"] if refused else []
    if odd:
        factors = [amplitude / median for _, amplitude in odd]
        parts.append(
            f"{count(len(odd), 'record')} {_range(min(factors), max(factors))} times the cohort's median of {median:.2g} mV"
        )
    return found("E007", "error" if refused else "warning", "; ".join(parts), [*refused, *(name for name, _ in odd)])


def _times(read: Read) -> Iterator[Finding]:
    short = [(name, q.seconds) for name, q in read if q.seconds < SHORT_SECONDS]
    lengths = [q.seconds for _, q in read]
    if short:
        least = min(seconds for _, seconds in short)
        detail = f"{len(short):,} of {count(len(read), 'record')} are shorter than {SHORT_SECONDS:g} s, the shortest {least:.3g} s"
        yield found("E008", "warning", detail, [name for name, _ in short])
    else:
        yield passed("E008", f"{_range(min(lengths), max(lengths))} s")
    rates = Counter(q.sampling_hz for _, q in read)
    if len(rates) == 1:
        yield passed("E009", f"{next(iter(rates)):g} Hz")
        return
    usual = rates.most_common(1)[0][0]
    detail = ", ".join(f"{hz:g} Hz ({n:,})" for hz, n in rates.most_common(6))
    yield found("E009", "info", detail, [name for name, q in read if q.sampling_hz != usual])


def _gaps(read: Read) -> Finding:
    lacking = [(name, q.absent) for name, q in read if q.absent]
    holed = [(name, q.missing) for name, q in read if q.missing > 0]
    if not lacking and not holed:
        return passed("E010", count(len(read), "record"))
    parts = []
    if lacking:
        parts.append(
            f"{count(len(lacking), 'record')} without {_tally(lead for _, leads in lacking for lead in leads)}"
        )
    if holed:
        parts.append(
            f"{count(len(holed), 'record')} with gaps, up to {max(share for _, share in holed):.1%} of the samples"
        )
    grave = bool(lacking) or any(share > MISSING_SHARE for _, share in holed)
    names = list(dict.fromkeys([name for name, _ in lacking] + [name for name, _ in holed]))
    return found("E010", "warning" if grave else "info", "; ".join(parts), names)


def _range(low: float, high: float) -> str:
    first, last = (f"{value:.3g}" if value < 100 else f"{value:,.0f}" for value in (low, high))
    return first if first == last else f"{first} to {last}"


def _tally(words: Iterable[str]) -> str:
    """``V1 (3), V2 (1)``, in falling order."""
    counted = Counter(words)
    return ", ".join(f"{word} ({n:,})" for word, n in counted.most_common(12))


def _severity(bad: int, of: int) -> Severity:
    """A fault of most records is one of the cohort (wrong order or names of leads), and an error."""
    return "error" if 2 * bad > of else "warning"
