"""Report texts of synthetic ECGs, in the manner of the machine statements printed on a sheet."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

# Several ways to say each finding; no sentence is a prompt of the knowledge base word for word.
PHRASES: dict[str, tuple[str, ...]] = {
    "SR": ("Sinus rhythm with a normal rate", "Sinus rhythm at a regular rate", "Rhythm is sinus"),
    "SBRAD": ("Sinus bradycardia, rate below 60", "Marked sinus bradycardia", "Slow rate, sinus bradycardia"),
    "STACH": ("Sinus tachycardia, rate above 100", "Fast rate, sinus tachycardia", "Rhythm is sinus tachycardia"),
    "AFIB": (
        "Atrial fibrillation is present",
        "Atrial fibrillation, irregularly irregular ventricular response",
        "Irregular rhythm without P waves, atrial fibrillation",
    ),
    "1AVB": (
        "AV block of the first degree",
        "Prolonged PR interval, first degree A-V block",
        "First degree atrioventricular block with long PR interval",
    ),
    "CLBBB": (
        "Left bundle branch block is present",
        "Complete left bundle branch block, wide QRS",
        "Wide QRS complexes, LBBB pattern, left bundle branch block",
    ),
    "CRBBB": (
        "Right bundle branch block is present",
        "Complete right bundle branch block, wide QRS",
        "RBBB, RSR' in V1, right bundle branch block",
    ),
    "STE": (
        "ST elevation in {region} leads",
        "ST segment elevation, consider acute {region} injury",
        "{region} ST segment is raised, ST elevation",
    ),
    "STD": (
        "ST depression in lateral leads",
        "ST segment depression, consider ischemia",
        "Lateral ST segment is depressed, ST depression",
    ),
    "VPC": (
        "Ventricular premature complexes",
        "Frequent PVCs, premature ventricular complexes",
        "With occasional ventricular premature beats",
    ),
    "PAC": (
        "Atrial premature complexes",
        "Frequent PACs, premature atrial complexes",
        "With occasional atrial premature beats",
    ),
    "LVH": (
        "Left ventricular hypertrophy by voltage",
        "High QRS voltage, left ventricular hypertrophy",
        "Voltage criteria for left ventricular hypertrophy are met",
    ),
}
_NORMAL = (
    "This is a normal ECG",
    "Within normal limits",
    "Normal tracing for age",
    "Normal electrocardiogram, no abnormality",
)
_ABNORMAL = ("Abnormal ECG", "Borderline ECG", "Clinical correlation is advised", "")
_FILLER = ("", "", "Ventricular rate {rate} per minute", "Heart rate {rate} bpm", "No earlier tracing to compare")


def report(findings: Collection[str], rate: int, region: str, rng: np.random.Generator) -> str:
    """One report: rhythm first, then the findings in a random order, a verdict, joined by ". ".

    Args:
        findings: Keys of :data:`PHRASES`; a normal recording has the rhythm ``SR`` alone.
        rate: Beats per minute.
        region: Where the ST segment is raised.
        rng: Chooses the wording.
    """
    chosen = [name for name in PHRASES if name in findings]
    rhythm, others = chosen[:1], chosen[1:]
    rng.shuffle(others)
    parts = [str(rng.choice(PHRASES[name])) for name in (*rhythm, *others)]
    parts.append(str(rng.choice(_NORMAL if findings == {"SR"} else _ABNORMAL)))
    parts.append(str(rng.choice(_FILLER)))
    sentences = [part.format(region=region, rate=rate) for part in parts if part]
    return ". ".join(text[0].upper() + text[1:] for text in sentences)
