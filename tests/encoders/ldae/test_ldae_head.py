"""The linear head from its three files."""

import pytest
import torch

from medfm.core.errors import ConfigError, WeightsError
from medfm.encoders.ldae.head import LinearHead, load_head

D = 5
ONES = torch.ones(D)
GOOD = {"weight": torch.arange(5.0)[None], "bias": torch.tensor([0.5])}


@pytest.fixture
def files(tmp_path):
    def write(classifier=GOOD, mean=ONES, std=2 * ONES):
        paths = [tmp_path / name for name in ("disease_classifier.ckpt", "semantic_mean.pt", "semantic_std.pt")]
        for path, value in zip(paths, (classifier, mean, std), strict=True):
            torch.save(value, path)
        return paths

    return write


@pytest.mark.parametrize("classifier", [GOOD, {"state_dict": GOOD, "epoch": 3}])
def test_score(files, classifier):
    head = load_head(*files(classifier), dim=D)
    codes = torch.randn(3, D)
    expected = [sum(k * (row[k] - 1) / 2 for k in range(D)) + 0.5 for row in codes]
    torch.testing.assert_close(head.score(codes), torch.stack(expected))


def test_moving_towards_the_positive_class(files):
    head = load_head(*files(), dim=D)
    codes = torch.randn(3, D)
    more, less = head.move(codes, 1.0), head.move(codes, -1.0)
    assert bool((head.score(more) > head.score(codes)).all()) and bool((head.score(less) < head.score(codes)).all())
    torch.testing.assert_close(head.score(more) - head.score(codes), torch.full((3,), 5**0.5 * 30**0.5))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"classifier": {"weight": GOOD["weight"]}}, "a weight and a bias"),
        ({"classifier": GOOD | {"more": torch.zeros(1)}}, "a weight and a bias"),
        ({"classifier": torch.zeros(3)}, "a weight and a bias"),
        ({"classifier": GOOD | {"weight": torch.zeros(1, 4)}}, r"shape \(1, 5\)"),
        ({"classifier": GOOD | {"weight": [1.0] * 5}}, "Found list"),
        ({"mean": torch.zeros(4)}, r"shape \(5,\)"),
        ({"mean": torch.full((D,), float("nan"))}, "not finite"),
        ({"std": torch.tensor([1.0, 1, 0, 1, 1])}, "not positive"),
        ({"std": {"std": torch.ones(D)}}, "Found dict"),
    ],
)
def test_files_that_hold_something_else(files, changes, why):
    with pytest.raises(WeightsError, match=why):
        load_head(*files(**changes), dim=D)


def test_a_file_that_is_not_there(files, tmp_path):
    paths = files()
    with pytest.raises(WeightsError, match="does not exist"):
        load_head(paths[0], tmp_path / "no.pt", paths[2], dim=D)


def test_an_unsafe_file(files):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    with pytest.raises(WeightsError):
        load_head(*files(mean=Evil()), dim=D)


def test_codes_of_another_length():
    head = LinearHead(torch.ones(D), torch.zeros(()), torch.zeros(D), torch.ones(D))
    for call in (lambda: head.score(torch.zeros(2, 4)), lambda: head.move(torch.zeros(2, 4), 1)):
        with pytest.raises(ConfigError):
            call()
