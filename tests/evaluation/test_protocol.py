"""Every shipped protocol loads, is complete, and says where it comes from."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from medfm.core.errors import ConfigError, UnknownNameError
from medfm.evaluation.protocol import KNN, MIL, LinearProbe, Protocol, list_protocols, load_protocol, protocol_folder

PAPERS = {
    "dinobloom-linear@1",
    "dinobloom-linear-split@1",
    "dinobloom-knn@1",
    "dinobloom-aml-mil@1",
    "reddino-linear@1",
}
OURS = {"linear-probe@1", "knn@1", "mil@1"}


def test_the_stable_names_are_shipped() -> None:
    assert set(list_protocols()) >= PAPERS | OURS


@pytest.mark.parametrize("name", list_protocols())
def test_every_shipped_protocol(name: str) -> None:
    protocol = load_protocol(name)
    assert protocol.id == name
    assert protocol.title and len(protocol.source) > 40
    again = Protocol.model_validate(protocol.to_dict())
    assert again == protocol and again.digest() == protocol.digest()
    if name in PAPERS:
        assert protocol.deviations and "arXiv" in protocol.source
    if name in OURS:
        assert protocol.scheme.group_by_patient and protocol.scheme.kind == "split_or_kfold"


@pytest.mark.parametrize("name", ["dinobloom-linear@1", "dinobloom-linear-split@1", "reddino-linear@1"])
def test_the_papers_linear_probe(name: str) -> None:
    method = load_protocol(name).method
    assert isinstance(method, LinearProbe)
    assert method.selection.rule == "dim_times_classes_over_100" and method.solver == "sklearn"
    assert not method.standardise and method.max_iter == 1000 and method.tol is None
    assert method.class_weight == "none"


def test_the_papers_folds() -> None:
    for name, deviation in (("dinobloom-linear@1", "population"), ("reddino-linear@1", "sample")):
        protocol = load_protocol(name)
        scheme = protocol.scheme
        assert (scheme.kind, scheme.folds, scheme.shuffle, scheme.group_by_patient) == ("kfold", 5, False, False)
        assert protocol.metrics == ("accuracy", "balanced_accuracy", "f1_weighted")
        assert (protocol.paper_average, protocol.paper_std) == ("fold_mean_std", deviation)


def test_the_papers_neighbours() -> None:
    method = load_protocol("dinobloom-knn@1").method
    assert isinstance(method, KNN)
    assert (method.k, method.vote, method.metric, method.standardise) == ((1, 20), "uniform", "euclidean", False)


def test_the_papers_bags() -> None:
    protocol = load_protocol("dinobloom-aml-mil@1")
    method = protocol.method
    assert isinstance(method, MIL)
    assert (method.pooling, method.hidden, method.classifier_hidden) == ("classwise_attention", 128, 64)
    assert (method.optimiser, method.lr, method.momentum, method.nesterov) == ("sgd", 1e-3, 0.9, True)
    assert (method.epochs, method.patience, method.schedule) == (150, 20, "cosine_per_bag")
    scheme = protocol.scheme
    assert (scheme.kind, scheme.folds, scheme.repeats) == ("split_with_inner_kfold", 4, 5)
    assert protocol.metrics == ("balanced_accuracy", "f1_weighted")


def test_overrides_and_refusals() -> None:
    assert load_protocol("knn@1", overrides=("method.k=[3]",)).method.k == (3,)  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="did you mean 'k'"):
        load_protocol("knn@1", overrides=("method.kk=3",))
    with pytest.raises(UnknownNameError, match="did you mean 'linear-probe@1'"):
        load_protocol("linear-probe")
    with pytest.raises(ValidationError):
        Protocol(id="no version", title="x", method=KNN())


def test_a_protocol_of_ones_own(tmp_path) -> None:
    text = (protocol_folder() / "knn@1.yaml").read_text().replace("id: knn@1", "id: mine@3")
    (tmp_path / "mine.yaml").write_text(text)
    assert load_protocol(str(tmp_path / "mine.yaml")).id == "mine@3"
