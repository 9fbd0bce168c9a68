"""ECG sets on the command line: prepare with task and labels, check, probe without --target, reproduce's search."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from ecg_sets import read_table, write_csn, write_ptbxl

from medfm.cli.main import main
from medfm.cohorts.adapters import prepare
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, MedfmError
from medfm.embeddings.embeddings import Embeddings
from medfm.embeddings.export import save_embeddings
from medfm.workflows.reproduce import Site
from medfm.workflows.reproduce_plan import _run as plan_run

KINDS = ("NORM", "IMI", "LVH", "1AVB", "NDT")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([*map(str, arguments)])
        shown = capsys.readouterr()
        return int(stop.value.code or 0), shown.out, shown.err

    return call


@pytest.fixture
def ptbxl(tmp_path: Path) -> Path:
    """Eighty recordings; every superclass occurs in every fold, alone or with another."""
    cells = {
        i: {
            "scp_codes": repr({KINDS[i % 5]: 100.0, **({KINDS[(i + 1) % 5]: 0.0} if i % 3 == 0 else {})}),
            "strat_fold": 10 if i > 50 else 9 if i > 40 else 1,
        }
        for i in range(1, 81)
    }
    return write_ptbxl(tmp_path / "sets" / "ptbxl", cells)


def test_prepare_by_options_and_by_name(run, ptbxl: Path, tmp_path: Path) -> None:
    code, out, _ = run(
        "data", "prepare", "ptbxl", "--task", "sub", "--labels", "published", "--source", ptbxl,
        "--out", tmp_path / "a", "--allow-partial",
    )  # fmt: skip
    assert code == 0
    assert "warning: " in out
    assert "more; all are in labels.yaml" in out
    code, out, _ = run(
        "data",
        "prepare",
        "ptbxl-sub@published",
        "--source",
        ptbxl,
        "--out",
        tmp_path / "b",
        "--allow-partial",
        "--json",
    )
    assert code == 0
    assert len(json.loads(out)["differences"]) > 12
    for name in ("labels.csv", "labels.yaml"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ptbxl-sup",), "super"),
        (("ptbxl", "--task", "sup"), "super"),
        (("ptbxl", "--labels", "right"), "corrected"),
        (("ptbxl-sub", "--task", "form"), "contradict"),
        (("acevedo", "--labels", "published"), "acevedo"),
        (("ptbxl", "--splits", "nowhere"), "data_split"),
    ],
)
def test_wrong_options_end_with_2_and_a_way_out(run, arguments, words: str, ptbxl: Path, tmp_path: Path) -> None:
    code, _, err = run("data", "prepare", *arguments, "--source", ptbxl, "--out", tmp_path / "out")
    assert code == 2
    assert words in err
    assert not (tmp_path / "out").exists()


def test_check_takes_the_list_of_the_cohort(run, ptbxl: Path, tmp_path: Path) -> None:
    table = prepare("ptbxl", ptbxl, tmp_path / "out", allow_partial=True).table
    code, out, _ = run("data", "check", table)
    assert code == 0
    assert "positive: HYP " in out
    assert "result: no errors" in out
    report = json.loads(run("data", "check", table, "--json")[1])
    assert report["target"] == ["HYP", "NORM", "MI", "CD", "STTC"]
    some = json.loads(run("data", "check", table, "--json", "--target", "MI", "--target", "CD")[1])
    assert some["target"] == ["MI", "CD"]
    one = json.loads(run("data", "check", table, "--json", "--target", "MI")[1])
    assert (one["target"], set(one["classes"])) == ("MI", {"0", "1"})
    named = json.loads(run("data", "check", table, "--json", "--target", "ptbxl-super")[1])
    assert named["target"] == report["target"]


def test_probe_takes_the_list_of_the_cohort(run, ptbxl: Path, tmp_path: Path) -> None:
    table = prepare("ptbxl", ptbxl, tmp_path / "out", allow_partial=True).table
    cohort = load_cohort(table)
    labels = list(cohort.info["target"])
    # Vectors that carry the labels with some noise, so that a probe must find them.
    rng = np.random.default_rng(0)
    vectors = cohort.table[labels].to_numpy(dtype=np.float32) + rng.normal(0, 0.2, (len(cohort), 5)).astype(np.float32)
    save_embeddings(Embeddings(vectors, tuple(cohort.record_ids)), tmp_path / "v.npz")
    code, out, _ = run(
        "probe", table, "--embeddings", tmp_path / "v.npz", "--map-method", "none", "--json",
        "--set", "statistics.resamples=30",
    )  # fmt: skip
    assert code == 0
    summary = json.loads(out)["summary"]
    assert summary["task"] == "multilabel"
    assert summary["target"] == "+".join(labels)
    assert {m["metric"]: m["value"] for m in summary["headline"]}["auroc_macro"] > 0.9


def test_list_shows_the_cohorts_of_a_set(run) -> None:
    code, out, _ = run("data", "list", "ptbxl-form@published")
    assert code == 0
    assert "ptbxl-sub@published" in out
    assert "19 form statements" in out
    whole = run("data", "list", "ptbxl")[1]
    assert "super (5 labels), sub, form, rhythm" in whole
    assert all(name in run("data", "list")[1] for name in ("ptbxl", "cpsc2018", "csn", "mimic-iv-ecg"))


class TestReproduce:
    """The search for the data of a published result."""

    def site(self, data: Path, work: Path) -> Site:
        work.mkdir(exist_ok=True)
        return Site("merl-resnet18", data, "random", (), True, "cpu", None, None, work)

    def test_a_set_as_released_is_prepared_for_every_name(self, ptbxl: Path, tmp_path: Path) -> None:
        site = self.site(ptbxl.parent, tmp_path / "work")
        for name, cohort in (("ptbxl-super@published", None), ("ptbxl-sub", None), ("ptbxl", "ptbxl-super")):
            table = site.table(name)
            assert yaml.safe_load(table.with_suffix(".yaml").read_text())["name"] == (cohort or name)
            assert name in site.partial
        assert site.cohort("ptbxl-sub").info["label_set"] == "ptbxl-sub"

    @pytest.mark.parametrize("place", ["ptbxl-sub@published", "ptbxl"])
    def test_a_prepared_table_is_taken_if_it_is_that_cohort(self, place: str, ptbxl: Path, tmp_path: Path) -> None:
        data = tmp_path / "prepared"
        table = prepare("ptbxl-sub@published", ptbxl, data / place, allow_partial=True).table
        site = self.site(data, tmp_path / "work")
        assert site.table("ptbxl-sub@published") == table
        with pytest.raises(CohortError):
            site.table("ptbxl-sub")

    def test_the_corrected_variant_may_be_spelled(self, ptbxl: Path, tmp_path: Path) -> None:
        data = tmp_path / "prepared"
        table = prepare("ptbxl-sub", ptbxl, data / "ptbxl-sub", allow_partial=True).table
        assert self.site(data, tmp_path / "work").table("ptbxl-sub@corrected") == table

    def test_corrected_and_published_differ_where_they_must(self, tmp_path: Path) -> None:
        write_csn(tmp_path / "sets" / "csn", {f"JS{i:05d}": "164889003" for i in range(10)})
        site = self.site(tmp_path / "sets", tmp_path / "work")
        right, published = (read_table(site.table(name)) for name in ("csn", "csn@published"))
        assert {row["AF"] for row in right.values()} == {"0"}
        assert {row["AF"] for row in published.values()} == {"1"}

    def test_a_published_result_may_name_the_label_set_as_target(self, ptbxl: Path, tmp_path: Path) -> None:
        site = self.site(ptbxl.parent, tmp_path / "work")
        for target in ("ptbxl-super", "MI"):
            planned = plan_run(site, "ptbxl-super@published", target, "linear-probe@1", ())
            assert (planned.why_not, planned.records, planned.complete) == ("", 80, False)
        assert "no column 'ptbxl-sub'" in plan_run(site, "ptbxl-super", "ptbxl-sub", "linear-probe@1", ()).why_not

    def test_data_that_are_absent_are_said(self, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(MedfmError, match="not in the data folder"):
            self.site(tmp_path / "empty", tmp_path / "work").table("ptbxl-super@published")
