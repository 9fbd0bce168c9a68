"""What a trained latent diffusion autoencoder of brains has learnt, on held-out subjects, with intervals.

Meant for the synthetic cohort, whose ventricles can be measured on any volume by their brightness.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from medfm.cohorts.cohort import Cohort
from medfm.cohorts.synthetic_brains import ventricle_ml
from medfm.core.errors import EvaluationError
from medfm.core.progress import ProgressMaker, Silent
from medfm.encoders.encoder import Encoder
from medfm.encoders.ldae.head import LinearHead
from medfm.encoders.load import load_encoder
from medfm.evaluation.bootstrap import Clusters, draw, percentile_interval
from medfm.evaluation.patterns import pattern
from medfm.evaluation.ridge import fit_ridge
from medfm.evaluation.volume_similarity import mean_square_error, ssim
from medfm.workflows.latent_diffusion import Codes, LatentDiffusionAutoencoder

_GRID = 10.0 ** np.arange(-6, 3)
_LEVEL = 0.95
_FOLDS = 5
STRENGTHS = (-1.0, -0.5, 0.0, 0.5, 1.0)
WINDOW = 4  # voxels, of the similarity in three dimensions


@dataclass(frozen=True)
class Finding:
    """One figure with its 95 % interval, resampled over subjects.

    Attributes:
        what: In words, with the unit and which sign is good.
        value: The figure.
        low: Lower end of the interval.
        high: Upper end.
        subjects: Number of held-out subjects behind it.
    """

    what: str
    value: float
    low: float
    high: float
    subjects: int

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.4g} ({self.low:.4g} to {self.high:.4g}), {self.subjects} subjects"


def evidence(
    system: LatentDiffusionAutoencoder,
    cohort: Cohort,
    *,
    steps: int | None = None,
    scans: int = 24,
    seed: int = 0,
    resamples: int = 1000,
    progress: ProgressMaker = Silent,
) -> list[Finding]:
    """Four comparisons on the split ``test``; linear models are fitted on the split ``train``.

    1. Reconstruction from both codes against the mean of the training volumes (mean square error).
    2. Age and AD against CN from the semantic code, against the untrained encoder of equal sizes.
    3. Ventricle volume of a visit in the middle after moving its code along the pattern of the age probe
       (:func:`~medfm.evaluation.patterns.pattern`), lowest strength to highest.
    4. The visit between two others: interpolated codes against linear blending of the two scans and of
       their decodes, by their distance to the decode of the true visit (published) and to its scan.

    Args:
        system: Trained.
        cohort: With `age`, `label` (CN, MCI, AD), `session` in months, and splits.
        steps: Sampling steps; the card's number when absent.
        scans: Most scans, and pairs of visits, that are sampled.
        seed: Of the resamples.
        resamples: How many.
        progress: Shows what is going on.

    Raises:
        EvaluationError: The cohort lacks test records or visits to interpolate.
    """
    train, test = cohort.of_split("train"), cohort.of_split("test")
    if not len(train) or not len(test):
        raise EvaluationError("The comparison needs the splits train and test.", where=cohort.name)
    volumes = {name: _volumes(system.encoder, part, progress) for name, part in (("train", train), ("test", test))}
    found = _reconstruction(system, volumes, test, steps, scans, seed, resamples)
    probes, head = _probes(system, volumes, train, test, seed, resamples)
    found += probes
    found += _manipulation(system, volumes["test"], test, head, steps, scans, seed, resamples)
    return found + _interpolation(system, volumes["test"], test, steps, scans, seed, resamples)


def _volumes(encoder: Encoder, cohort: Cohort, progress: ProgressMaker) -> Tensor:
    kept = []
    with progress("reading", len(cohort), "volumes") as shown:
        for index in range(len(cohort)):
            kept.append(encoder.preprocess(cohort.read(index)))
            shown.advance()
    return torch.stack(kept)


def interval(
    what: str, statistic: Callable[[np.ndarray], float], patients: np.ndarray, seed: int, resamples: int
) -> Finding:
    """A figure under resampling of subjects.

    Args:
        what: In words.
        statistic: Weights of the records, float (n,) whole numbers -> figure (NaN where undefined).
        patients: Subject of every record (n,).
        seed: Of the resamples.
        resamples: How many.
    """
    clusters = Clusters.of(patients)
    columns = np.concatenate(list(draw(clusters, resamples, seed)), axis=1)
    values = np.array([statistic(column.astype(np.float64)) for column in columns.T])
    low, high = percentile_interval(values, _LEVEL)
    return Finding(what, statistic(np.ones(len(patients))), float(low), float(high), clusters.count)


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda weights: float((weights * values).sum() / weights.sum())


def _spread(patients: np.ndarray, count: int) -> np.ndarray:
    """Rows of at most `count` scans, first one of every subject, then a second of each."""
    seen: dict[str, int] = {}
    turn = np.empty(len(patients), dtype=np.int64)
    for row, patient in enumerate(patients):
        turn[row] = seen[patient] = seen.get(patient, -1) + 1
    return np.sort(np.argsort(turn, kind="stable")[:count])


def _reconstruction(
    system: LatentDiffusionAutoencoder,
    volumes: dict[str, Tensor],
    test: Cohort,
    steps: int | None,
    scans: int,
    seed: int,
    resamples: int,
) -> list[Finding]:
    patients = test.column("patient_id").to_numpy()
    rows = _spread(patients, scans)
    batch = volumes["test"][rows]
    true = system.volume(batch).cpu()
    mean = system.volume(volumes["train"].mean(dim=0, keepdim=True)).expand_as(true)
    both = system.decode(system.encode(batch, steps=steps), steps=steps).cpu()
    compressed = system.compressed(batch).cpu()
    errors = {
        "of the mean image": mean_square_error(mean, true).numpy(),
        "of the compression alone": mean_square_error(compressed, true).numpy(),
        "of the reconstruction from both codes": mean_square_error(both, true).numpy(),
    }
    who = patients[rows]
    found = [interval(f"MSE {n}", _mean_of(v), who, seed, resamples) for n, v in errors.items()]
    gain = errors["of the mean image"] - errors["of the reconstruction from both codes"]
    return [
        *found,
        interval("MSE, mean image minus reconstruction (above 0: better)", _mean_of(gain), who, seed, resamples),
    ]


def _probes(
    system: LatentDiffusionAutoencoder,
    volumes: dict[str, Tensor],
    train: Cohort,
    test: Cohort,
    seed: int,
    resamples: int,
) -> tuple[list[Finding], LinearHead]:
    trained = system.encoder
    card = trained.card
    untrained = load_encoder(card.path, weights="random", device=str(trained.device), seed=seed)
    ages = [part.column("age").to_numpy(dtype=np.float64) for part in (train, test)]
    labels = [part.column("label").to_numpy() for part in (train, test)]
    of_train = train.column("patient_id").to_numpy()
    patients = test.column("patient_id").to_numpy()
    pair = np.isin(labels[1], ["AD", "CN"])
    errors, scores, head = {}, {}, None
    for name, encoder in (("trained", trained), ("untrained", untrained)):
        codes = [_codes(encoder, volumes[part]) for part in ("train", "test")]
        weight, bias, mean, std = _linear(codes[0], ages[0], of_train)
        errors[name] = np.abs((codes[1] - mean) / std @ weight + bias - ages[1])
        kept = np.isin(labels[0], ["AD", "CN"])
        sick = _linear(codes[0][kept], np.where(labels[0][kept] == "AD", 1.0, -1.0), of_train[kept])
        scores[name] = ((codes[1] - sick[2]) / sick[3] @ sick[0] + sick[1])[pair]
        if encoder is trained:
            along = pattern((codes[0] - mean) / std, weight)
            head = LinearHead(*(torch.tensor(v, dtype=torch.float32) for v in (along, bias, mean, std)))
    assert head is not None
    ill, who = labels[1][pair] == "AD", patients[pair]
    found = [
        interval(f"age MAE in years, {n} encoder", _mean_of(v), patients, seed, resamples) for n, v in errors.items()
    ]
    gain = errors["untrained"] - errors["trained"]
    found.append(
        interval("age MAE, untrained minus trained (above 0: better)", _mean_of(gain), patients, seed, resamples)
    )
    found += [
        interval(f"AUROC of AD against CN, {n} encoder", _auroc(v, ill), who, seed, resamples)
        for n, v in scores.items()
    ]
    of_trained, of_untrained = _auroc(scores["trained"], ill), _auroc(scores["untrained"], ill)
    found.append(
        interval(
            "AUROC, trained minus untrained (above 0: better)",
            lambda weights: of_trained(weights) - of_untrained(weights),
            who,
            seed,
            resamples,
        )
    )
    return found, head


def _codes(encoder: Encoder, volumes: Tensor) -> np.ndarray:
    with torch.inference_mode():
        parts = [encoder(part) for part in volumes.split(16)]
    return torch.cat(parts).cpu().double().numpy()


def _linear(
    codes: np.ndarray, target: np.ndarray, patients: np.ndarray
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """Weight on standardised codes, intercept, mean and deviation; the penalty by folds of whole subjects."""
    mean, std = codes.mean(axis=0), np.maximum(codes.std(axis=0), 1e-9)
    standard = (codes - mean) / std
    fold = np.unique(patients, return_inverse=True)[1] % _FOLDS
    errors = np.zeros(len(_GRID))
    for number in np.unique(fold):
        out = fold == number
        path = fit_ridge(standard[~out], target[~out], _GRID)
        errors += [np.square(path.predict(standard[out], g) - target[out]).sum() for g in range(len(_GRID))]
    best, path = int(np.argmin(errors)), fit_ridge(standard, target, _GRID)
    return path.coef[best], float(path.intercept[best]), mean, std


def _auroc(scores: np.ndarray, positive: np.ndarray) -> Callable[[np.ndarray], float]:
    """Area under the ROC curve of weighted records; NaN where a class is missing."""
    larger = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])

    def statistic(weights: np.ndarray) -> float:
        first, second = weights[positive], weights[~positive]
        total = first.sum() * second.sum()
        return float(first @ larger @ second / total) if total else float("nan")

    return statistic


def _manipulation(
    system: LatentDiffusionAutoencoder,
    volumes: Tensor,
    test: Cohort,
    head: LinearHead,
    steps: int | None,
    scans: int,
    seed: int,
    resamples: int,
) -> list[Finding]:
    patients = test.column("patient_id").to_numpy()
    # A visit in the middle leaves room for both younger and older.
    rows = np.array([row[1] for row in triples(test)][:scans])
    codes = system.encode(volumes[rows], steps=steps)
    sizes = np.stack(
        [
            [ventricle_ml(volume[0].numpy()) for volume in system.decode(moved, steps=steps).cpu()]
            for moved in system.manipulate(codes, head, STRENGTHS)
        ],
        axis=1,
    )
    who = patients[rows]
    rises = np.diff(sizes, axis=1)
    slopes = np.polyfit(STRENGTHS, sizes.T, 1)[0]
    return [
        *(
            interval(f"ventricles in ml at strength {s:+g} towards older", _mean_of(sizes[:, i]), who, seed, resamples)
            for i, s in enumerate(STRENGTHS)
        ),
        interval(
            "smallest mean step of the ventricles between strengths in ml (above 0: monotonic)",
            lambda weights: float((weights[:, None] * rises).sum(axis=0).min() / weights.sum()),
            who,
            seed,
            resamples,
        ),
        interval(
            "mean slope of the ventricles in ml per unit of strength (above 0: as intended)",
            _mean_of(slopes),
            who,
            seed,
            resamples,
        ),
        interval(
            "share of subjects whose ventricles rise at every step",
            _mean_of((rises > 0).all(axis=1).astype(float)),
            who,
            seed,
            resamples,
        ),
    ]


def triples(cohort: Cohort) -> list[tuple[int, int, int, float]]:
    """First visit, one in between, last visit (rows), and the place of the middle one between 0 and 1, per subject."""
    found = []
    table = cohort.table.assign(month=cohort.column("session").astype(float), row=range(len(cohort)))
    for _, visits in table.sort_values("month").groupby("patient_id", sort=True):
        if len(visits) < 3:
            continue
        months, rows = visits["month"].tolist(), visits["row"].tolist()
        span = months[-1] - months[0]
        middle = min(range(1, len(rows) - 1), key=lambda i: abs(months[i] - months[0] - span / 2))
        if span > 0:
            found.append((rows[0], rows[middle], rows[-1], (months[middle] - months[0]) / span))
    return found


def _interpolation(
    system: LatentDiffusionAutoencoder,
    volumes: Tensor,
    test: Cohort,
    steps: int | None,
    scans: int,
    seed: int,
    resamples: int,
) -> list[Finding]:
    chosen = triples(test)[:scans]
    if not chosen:
        raise EvaluationError("No test subject has three visits.", where=test.name)
    first, middle, last = (volumes[[row[i] for row in chosen]] for i in range(3))  # type: ignore[index]
    ends = [system.encode(part, steps=steps) for part in (first, last)]
    true = system.volume(middle).cpu()
    between = torch.cat(
        [
            system.decode(system.interpolate(_one(ends[0], i), _one(ends[1], i), [share])[0], steps=steps).cpu()
            for i, (*_, share) in enumerate(chosen)
        ]
    )
    shares = torch.tensor([row[3] for row in chosen]).reshape(-1, 1, 1, 1, 1)

    def blend(one: Tensor, other: Tensor) -> Tensor:
        return (1 - shares) * one.cpu() + shares * other.cpu()

    guesses = {
        "interpolated codes": between,
        "blended scans": blend(system.volume(first), system.volume(last)),
        "blended decodes": blend(system.compressed(first), system.compressed(last)),
    }
    who = test.column("patient_id").to_numpy()[[row[1] for row in chosen]]
    found: list[Finding] = []
    # Published: against the autoencoder's decode of the target, which leaves its own error out.
    for against, target in (("its decode", system.compressed(middle).cpu()), ("its scan", true)):
        errors = {name: mean_square_error(guess, target).numpy() for name, guess in guesses.items()}
        alike = {name: ssim(guess, target, window=WINDOW).numpy() for name, guess in guesses.items()}
        for name, values in errors.items():
            found.append(interval(f"middle visit, MSE of {name} to {against}", _mean_of(values), who, seed, resamples))
        for name in ("blended scans", "blended decodes"):
            gains = {
                "MSE": errors[name] - errors["interpolated codes"],
                "SSIM": alike["interpolated codes"] - alike[name],
            }
            found += [
                interval(
                    f"middle visit to {against}, {what}, codes against {name} (above 0: codes are nearer)",
                    _mean_of(gain),
                    who,
                    seed,
                    resamples,
                )
                for what, gain in gains.items()
            ]
    return found


def _one(codes: Codes, index: int) -> Codes:
    return Codes(codes.semantic[index : index + 1], codes.stochastic[index : index + 1])
