"""Telling the site of unseen patients from an embedding, and the same figure under chance.

The model is a linear discriminant with equal priors and a ridge on the total covariance, which is
estimated without looking at sites: the nearest mean after whitening. Nothing but the means depends
on the sites, so that hundreds of permutations cost little more than one fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Share of the mean variance added to every direction; embeddings often have more dimensions than patients.
_RIDGE = 1.0


@dataclass(frozen=True)
class SiteDiscriminant:
    """A cross-validated discriminant.

    Attributes:
        whitened: float64 (n, r).
        site: int64 (n,), sites 0 .. S - 1.
        owner: int64 (n,), patients 0 .. P - 1.
        fold: int64 (n,), the fold that tests a record; the same for all records of a patient.
    """

    whitened: np.ndarray
    site: np.ndarray
    owner: np.ndarray
    fold: np.ndarray

    @classmethod
    def prepare(
        cls, values: np.ndarray, site: np.ndarray, patients: np.ndarray, folds: int, seed: int
    ) -> SiteDiscriminant:
        """Whiten `values` (n, d) and cut the patients into stratified folds.

        Args:
            values: float (n, d) embeddings.
            site: int (n,) of 0 .. sites - 1.
            patients: (n,) ids.
            folds: At least 2, at most the patients of the smallest site.
            seed: Of the folds.
        """
        from sklearn.model_selection import StratifiedGroupKFold

        x = np.asarray(values, dtype=np.float64)
        spread = x.std(axis=0)
        x = (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)
        _, owner = np.unique(np.asarray(patients), return_inverse=True)
        owner = owner.reshape(-1).astype(np.int64)
        fold = np.zeros(len(x), dtype=np.int64)
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for number, (_, test) in enumerate(splitter.split(x, site, owner)):
            fold[test] = number
        left, sizes, _ = np.linalg.svd(x, full_matrices=False)
        variance = sizes**2 / len(x)
        return cls(left * (sizes / np.sqrt(variance + _RIDGE)), site.astype(np.int64), owner, fold)

    def scores(self) -> np.ndarray:
        """float64 (n, sites): out-of-fold probabilities; a site absent from a training set has 0."""
        logits = self._logits(self.site, self.fold)
        logits -= logits.max(axis=1, keepdims=True)
        found = np.exp(logits)
        return np.asarray(found / found.sum(axis=1, keepdims=True))

    def null(self, permutations: int, rng: np.random.Generator) -> np.ndarray:
        """float64 (permutations,): balanced accuracies with sites dealt out anew.

        Site and fold of a patient go together to another patient, so that every fold keeps its
        sites. Patients seen at several sites keep their fold and get their own sites in another order.
        """
        patients = int(self.owner.max()) + 1
        first = np.unique(self.owner, return_index=True)[1]
        home = self.site[first]
        roams = np.zeros(patients, dtype=bool)
        roams[self.owner[self.site != home[self.owner]]] = True
        settled = np.flatnonzero(~roams)
        wanderers = [np.flatnonzero(self.owner == p) for p in np.flatnonzero(roams)]
        found = np.empty(permutations)
        for i in range(permutations):
            lent = np.arange(patients)
            lent[settled] = rng.permutation(settled)
            site, fold = home[lent][self.owner], self.fold[first][lent][self.owner]
            for rows in wanderers:
                site[rows] = rng.permutation(self.site[rows])
            found[i] = _balanced_accuracy(site, self._logits(site, fold).argmax(axis=1))
        return found

    def _logits(self, site: np.ndarray, fold: np.ndarray) -> np.ndarray:
        """float64 (n, sites): closeness of each record to the means of the other folds' sites."""
        sites, folds = int(self.site.max()) + 1, int(self.fold.max()) + 1
        cell = fold * sites + site
        sums = (np.arange(folds * sites)[:, None] == cell).astype(np.float64) @ self.whitened
        counts = np.bincount(cell, minlength=folds * sites).reshape(folds, sites, 1)
        sums = sums.reshape(folds, sites, -1)
        sums, counts = sums.sum(axis=0) - sums, counts.sum(axis=0) - counts
        means = sums / np.maximum(counts, 1)
        logits = np.empty((len(site), sites))
        for number in range(folds):
            rows = fold == number
            close = self.whitened[rows] @ means[number].T - 0.5 * np.square(means[number]).sum(axis=1)
            logits[rows] = np.where(counts[number, :, 0] > 0, close, -np.inf)
        return logits


def _balanced_accuracy(truth: np.ndarray, predicted: np.ndarray) -> float:
    totals = np.bincount(truth)
    hits = np.bincount(truth[truth == predicted], minlength=len(totals))
    return float((hits[totals > 0] / totals[totals > 0]).mean())
