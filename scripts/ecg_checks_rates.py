"""How often the ECG checks are right and wrong, measured on real recordings with faults put in.

    python scripts/ecg_checks_rates.py LABELS ROOT [--where COLUMN=VALUE]

Every recording of the cohort is judged as it is (what is found then are alarms, right or wrong: nobody has looked
at these recordings, some do have hum, flat and clipped leads) and with one fault at a time. Prints the table of
docs/ecg.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medfm.cohorts.checks import signals
from medfm.cohorts.load import load_cohort
from medfm.io.ecg.units import implausible
from medfm.modalities.ecg_quality import Quality, measure
from medfm.modalities.record import Record

HUM_PEAK_MV = 0.05
CLIP_SHARE = 0.6
Verdict = Callable[[Quality, np.ndarray], bool | None]


@dataclass(frozen=True)
class Row:
    """One fault: its code, what was done, how many recordings it was found in, and how many alarm without it."""

    code: str
    fault: str
    found: int
    of: int
    alarms: int
    alarms_of: int

    def line(self) -> str:
        """The row of the table in docs/ecg.md."""
        return f"| {self.code} | {self.fault} | {share(self.found, self.of)} | {share(self.alarms, self.alarms_of)} |"


def share(number: int, of: int) -> str:
    return f"{number / of:.1%} ({number}/{of})"


def swap(kind: str) -> Callable[[Record], np.ndarray]:
    """The twelve leads as recorded with two electrodes exchanged."""

    def change(record: Record) -> np.ndarray:
        i, ii, iii, r, l, f = record.array[:6]  # noqa: E741
        limbs = {"RA/LA": (-i, iii, ii, l, r, f), "RA/LL": (-iii, -ii, -i, f, l, r), "LA/LL": (ii, i, -iii, r, f, l)}
        return np.concatenate([np.stack(limbs[kind]), record.array[6:]])

    return change


def with_hum(mains: int) -> Callable[[Record], np.ndarray]:
    def change(record: Record) -> np.ndarray:
        time = np.arange(record.array.shape[1]) / record.facts["sampling_hz"]
        return record.array + (HUM_PEAK_MV * np.sin(2 * np.pi * mains * time)).astype(np.float32)

    return change


def clip(record: Record) -> np.ndarray:
    end = CLIP_SHARE * float(np.abs(record.array).max())
    return np.clip(record.array, -end, end)


def flat_v3(record: Record) -> np.ndarray:
    changed = record.array.copy()
    changed[8] = 0.01
    return changed


def exchanged(one: int, other: int) -> Callable[[Record], np.ndarray]:
    def change(record: Record) -> np.ndarray:
        changed = record.array.copy()
        changed[[one, other]] = changed[[other, one]]
        return changed

    return change


def inverted_avr(record: Record) -> np.ndarray:
    changed = record.array.copy()
    changed[3] *= -1
    return changed


def times(factor: float) -> Callable[[Record], np.ndarray]:
    return lambda record: record.array * np.float32(factor)


def judged(verdict: Callable[[Quality], bool]) -> Verdict:
    """Only where the limb leads can be judged at all."""
    return lambda quality, _: None if quality.limbs is None else verdict(quality)


def always(verdict: Callable[[Quality], bool]) -> Verdict:
    return lambda quality, _: verdict(quality)


def refused(_: Quality, array: np.ndarray) -> bool:
    deviation = np.nanstd(array, axis=1)
    return implausible(float(np.median(deviation[deviation > 0]))) is not None


def measured(labels: Path, root: Path, where: dict[str, str]) -> list[Row]:
    """All rows of the table."""
    cohort = load_cohort(labels, modality="ecg", root=root, where=where, map={"patient_id": "path"})
    records = [cohort.read(i) for i in range(len(cohort))]
    plain = [(measure(r.array, r.facts), r.array) for r in records]
    median = float(np.median([quality.amplitude_mv for quality, _ in plain]))

    def off(quality: Quality, array: np.ndarray) -> bool:
        return refused(quality, array) or signals.off_scale(quality, median)

    def rows() -> Iterator[tuple[str, str, Callable[[Record], np.ndarray], Verdict]]:
        swapped = judged(lambda q: signals.swapped(q) is not None)
        yield "E001", "right and left arm exchanged", swap("RA/LA"), swapped
        yield "E001", "right arm and left leg exchanged", swap("RA/LL"), swapped
        yield (
            "E001",
            "right and left arm exchanged, and named",
            swap("RA/LA"),
            judged(lambda q: signals.swapped(q) == "RA/LA"),
        )
        yield (
            "E001",
            "right arm and left leg exchanged, and named",
            swap("RA/LL"),
            judged(lambda q: signals.swapped(q) == "RA/LL"),
        )
        yield "E002", "left arm and left leg exchanged (weak)", swap("LA/LL"), judged(signals.arm_for_leg)
        contradicting = always(lambda q: bool(signals.contradicting(q)))
        yield "E003", "aVR inverted", inverted_avr, contradicting
        yield "E003", "II and III exchanged in name", exchanged(1, 2), contradicting
        yield "E003", "aVL and aVF exchanged in name", exchanged(4, 5), contradicting
        yield "E003", "II and V1 exchanged in name", exchanged(1, 6), contradicting
        yield "E004", "V3 constant", flat_v3, always(lambda q: "V3" in q.flat)
        yield "E005", f"cut at {CLIP_SHARE:.0%} of the largest value", clip, always(lambda q: bool(signals.clipped(q)))
        for mains in (50, 60):
            text = f"{mains} Hz of {2e3 * HUM_PEAK_MV:g} uV peak to peak"
            yield "E006", text, with_hum(mains), always(lambda q, mains=mains: signals.hum(q) == mains)  # type: ignore[misc]
        for factor, name in ((1000, "1000"), (1e-3, "1/1000"), (20, "20"), (0.05, "1/20")):
            yield "E007", f"one recording times {name}", times(factor), off

    result = []
    for code, fault, change, verdict in rows():
        alarms = [v for quality, array in plain if (v := verdict(quality, array)) is not None]
        found = []
        for record in records:
            array = change(record)
            answer = verdict(measure(array, record.facts), array)
            if answer is not None:
                found.append(answer)
        result.append(Row(code, fault, sum(found), len(found), sum(alarms), len(alarms)))
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("root", type=Path)
    parser.add_argument("--where", default="task=ecg_rhythm", help="rows to take, COLUMN=VALUE")
    options = parser.parse_args()
    column, _, value = options.where.partition("=")
    print("| code | fault put in | found | alarms without it |\n|---|---|---|---|")
    for row in measured(options.labels, options.root, {column: value}):
        print(row.line())
    return 0


if __name__ == "__main__":
    sys.exit(main())
