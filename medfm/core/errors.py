"""Every error a user can meet: what was wrong, where, what was expected, what to do.

Library code raises a subclass of :class:`MedfmError`; the command line prints its text and
exits with code 2, without a traceback. No message may contain a patient identifier from
inside a file: name the record by the cohort's own id or by its path relative to the cohort.
"""

from __future__ import annotations


class MedfmError(Exception):
    """Base of all errors raised on purpose.

    Args:
        what: One sentence saying what is wrong.
        where: The file, row, key or option concerned.
        expected: What would have been accepted.
        fix: What the user can do about it.
    """

    def __init__(
        self, what: str, *, where: str | None = None, expected: str | None = None, fix: str | None = None
    ) -> None:
        self.what = what
        self.where = where
        self.expected = expected
        self.fix = fix
        super().__init__(self._text())

    def _text(self) -> str:
        parts = [self.what]
        if self.where is not None:
            parts.append(f"  where:    {self.where}")
        if self.expected is not None:
            parts.append(f"  expected: {self.expected}")
        if self.fix is not None:
            parts.append(f"  to do:    {self.fix}")
        return "\n".join(parts)

    @property
    def line(self) -> str:
        """What is wrong, what was expected and what to do, on one line; without the place, which a list names itself."""
        parts = [self.what]
        if self.expected is not None:
            parts.append(f"Expected: {self.expected.rstrip('.')}.")
        if self.fix is not None:
            parts.append(f"To do: {self.fix.rstrip('.')}.")
        return " ".join(parts)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (decode workers); keyword arguments must survive pickling.
        return (_rebuild, (type(self), self.what, self.where, self.expected, self.fix))


def _rebuild(kind: type[MedfmError], what: str, where: str | None, expected: str | None, fix: str | None) -> MedfmError:
    return kind(what, where=where, expected=expected, fix=fix)


class ConfigError(MedfmError):
    """A configuration value, option or YAML key is wrong."""


class UnknownNameError(MedfmError):
    """An id (encoder, protocol, modality, adapter ...) does not exist; the message names near ones."""


class ReadError(MedfmError):
    """A file of a record could not be read (missing, truncated, wrong format, too large)."""


class CohortError(MedfmError):
    """A cohort table is malformed (missing column, duplicate id, escaping path ...)."""


class ChecksFailedError(MedfmError):
    """A coded check with severity ``error`` stopped the run."""


class CardError(MedfmError):
    """A model card does not follow the schema, or two cards claim one id."""


class WeightsError(MedfmError):
    """A checkpoint is missing, damaged, of another model, or not safe to load."""


class OfflineError(MedfmError):
    """A download would be needed but the process is offline."""


class StoreError(MedfmError):
    """The embedding store, a result folder or another output cannot be read or written."""


class EvaluationError(MedfmError):
    """The data do not allow the evaluation asked for (one class, too few patients ...)."""


class TrainingError(MedfmError):
    """A training run cannot start, go on or resume."""


class MissingExtraError(MedfmError):
    """An optional dependency is not installed; the message names the extra."""
