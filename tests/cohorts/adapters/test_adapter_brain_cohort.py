"""What the brain MRI sets share: splits, tables beside the cohort's, and the same promises of every set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from brain_layouts import archived, beside, dates_in, made, merge_row, put, sheet
from hypothesis import given, settings
from hypothesis import strategies as st

from medfm.cli.main import main
from medfm.cohorts.adapters import get_adapter, list_adapters, prepare
from medfm.cohorts.adapters.base import Found, Row
from medfm.cohorts.adapters.brain_cohort import TASKS, BrainAdapter, BrainFound, Gathered, Left, write_table
from medfm.cohorts.adapters.brain_visits import Visit
from medfm.cohorts.info import load_info
from medfm.cohorts.ldae_split import ldae_split
from medfm.cohorts.load import load_cohort
from medfm.core.errors import CohortError, StoreError

SETS = [name for name in list_adapters() if isinstance(get_adapter(name), BrainAdapter)]


class Fake(BrainAdapter):
    """A set whose rows are given."""

    id, title, layout, where = "fake", "Fake", "x", "nowhere"
    licence, citation, unverified = "none", "none", ("no count is enforced",)
    tasks = tuple(TASKS)
    follow_up = True
    more_columns = ("extra",)

    def __init__(self, task: str | None = None, labelling: str | None = None, given: Gathered | None = None) -> None:
        super().__init__(task, labelling)
        self.given = given

    def gather(self, source: Path) -> Gathered:
        assert self.given is not None
        rows = [dict(row) for row in self.given.rows]
        return Gathered(rows, self.given.left_out, self.given.visits, self.given.notes)


def row(subject: str, day: int, label: str | None = None, **more: Any) -> Row:
    name = f"{subject}_{day}"
    days = {"session": f"d{day}", "months": round(day / 30, 1), "_day": day, "_visit_day": day}
    return {
        "record_id": name,
        "path": f"{name}.nii.gz",
        "patient_id": subject,
        "age": 70.0,
        "label": label,
        **days,
        **more,
    }


def gathered(*rows: Row, **more: Any) -> Gathered:
    return Gathered(list(rows), **more)


def people(number: int, visits: int = 2) -> list[Row]:
    labels = ("CN", "MCI", "AD")
    return [row(f"p{i:02d}", 180 * v, labels[i % 3]) for i in range(number) for v in range(visits)]


def table_of(task: str | None, given: Gathered, out: Path, **keywords: Any) -> pd.DataFrame:
    out.mkdir(exist_ok=True)
    (out / "source").mkdir(exist_ok=True)
    done = Fake(task, given=given).prepare(out / "source", out / "cohort", **keywords)
    return pd.read_csv(done.table, dtype=str, keep_default_na=False)


def test_the_sets() -> None:
    assert SETS == ["adni", "aibl", "ixi", "oasis1", "oasis2", "oasis3"]
    followed = [name for name in SETS if getattr(get_adapter(name), "follow_up", False)]
    assert followed == ["adni", "aibl", "oasis3"]


@pytest.mark.parametrize("name", SETS)
def test_every_set_says_what_it_is(name: str) -> None:
    adapter = get_adapter(name)
    assert isinstance(adapter, BrainAdapter)
    assert adapter.modality == "brain_mri" and adapter.patients
    assert adapter.licence and adapter.citation
    for cohort in adapter.cohort_names():
        assert get_adapter(cohort).name == cohort
    assert set(adapter.tasks) <= set(TASKS)
    # Nothing that a row needs is missing from the columns, and no column is there twice.
    assert len(set(adapter.columns)) == len(adapter.columns)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_keeps_its_classes(tmp_path: Path, task: str) -> None:
    given = gathered(*people(6), row("q", 0), row("r", 0, "CN"))
    kept = table_of(task, given, tmp_path)["label"]
    assert set(kept) == (set(TASKS[task]) or {"CN", "MCI", "AD", ""})


def test_no_class_of_a_task_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no record was found"):
        table_of("ad-cn", gathered(row("p", 0, "MCI")), tmp_path)


def test_the_target_is_the_diagnosis_where_every_scan_has_one(tmp_path: Path) -> None:
    table_of("all", gathered(*people(3)), tmp_path / "a")
    assert load_info(tmp_path / "a" / "cohort" / "labels.csv").target == "label"
    table_of("all", gathered(*people(3), row("q", 0)), tmp_path / "b")
    info = load_info(tmp_path / "b" / "cohort" / "labels.csv")
    assert info.target is None and "scans without a label: 1" in info.notes
    assert info.units == {"age": "years", "months": "months", "scan_months": "months"}


def test_splits_are_those_of_ldae(tmp_path: Path) -> None:
    table = table_of("ad-mci-cn", gathered(*people(40), row("q", 0)), tmp_path, splits="ldae-supervised")
    drawn = ldae_split({f"p{i:02d}" for i in range(40)}, "ldae-supervised")
    assert dict(zip(table["patient_id"], table["split"], strict=True)) == drawn
    assert any(
        "seed 42, 10% test, 30.0% of the others val" in note for note in load_info(tmp_path / "cohort/labels.csv").notes
    )


def test_the_classes_of_the_task_decide_who_is_drawn_from(tmp_path: Path) -> None:
    """As published: the program keeps its classes first, so another task has other test subjects."""
    every = table_of("all", gathered(*people(60)), tmp_path / "a", splits="ldae")
    fewer = table_of("ad-cn", gathered(*people(60)), tmp_path / "b", splits="ldae")
    tested = [set(t[t["split"] == "test"]["patient_id"]) for t in (every, fewer)]
    assert len(tested[0]) == 6 and len(tested[1]) == 4 and tested[0] != tested[1]


def test_unlabelled_scans_follow_their_subject(tmp_path: Path) -> None:
    table = table_of("all", gathered(*people(12), row("p03", 720), row("q", 0)), tmp_path, splits="ldae")
    own = table[table["patient_id"] == "p03"]["split"]
    assert own.nunique() == 1 and own.iloc[0] != ""
    assert table[table["patient_id"] == "q"]["split"].tolist() == [""]


def test_a_set_without_labels_is_drawn_from_whole(tmp_path: Path) -> None:
    table = table_of("all", gathered(*(row(f"p{i}", 0) for i in range(10))), tmp_path, splits="ldae")
    assert sorted(table["split"].value_counts().to_dict().items()) == [("test", 1), ("train", 8), ("val", 1)]


@settings(max_examples=15, deadline=None)
@given(st.integers(3, 30), st.integers(1, 3), st.sampled_from(["ldae", "ldae-supervised"]))
def test_no_subject_is_in_two_splits(number: int, visits: int, name: str) -> None:
    found = Fake("all", given=gathered(*people(number, visits))).find(Path(), Path(name))
    parts = {split: {r["patient_id"] for r in found.rows if r["split"] == split} for split in ("train", "val", "test")}
    assert all(parts.values())
    assert sum(len(part) for part in parts.values()) == number


@pytest.mark.parametrize("name", SETS)
def test_other_splits_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="no published split files") as caught:
        prepare(name, tmp_path, tmp_path / "out", splits=tmp_path / "data_split")
    assert "ldae-supervised" in str(caught.value)


def test_too_few_subjects_for_a_split(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="2 subjects cannot fill"):
        table_of("all", gathered(*people(2)), tmp_path, splits="ldae")


def test_what_lies_beside_the_table(tmp_path: Path) -> None:
    visits = {"a": [Visit("d0", 0, 0, "MCI"), Visit("d400", 400, 13, "CN")]}
    left = [Left("b", "I2", "late"), Left("a", "I1", "late"), Left("a", "I9", "copy")]
    given = gathered(row("a", 0, "MCI", extra="e"), row("a", 200, "CN"), left_out=left, visits=visits)
    table_of("all", given, tmp_path)
    out = tmp_path / "cohort"
    assert {f.name for f in out.iterdir()} == {
        "labels.csv", "labels.yaml", "pairs.csv", "left_out.csv", "survival.csv", "survival.yaml",
    }  # fmt: skip
    assert pd.read_csv(out / "left_out.csv").to_numpy().tolist() == [
        ["a", "I1", "late"],
        ["a", "I9", "copy"],
        ["b", "I2", "late"],
    ]
    assert pd.read_csv(out / "pairs.csv")["gap_months"].tolist() == [6.7]
    followed = pd.read_csv(out / "survival.csv").iloc[0]
    assert followed[["record_id", "time", "event", "extra"]].tolist() == ["a_0", 13.1, 0, "e"]
    assert "label" not in followed.index
    notes = load_info(out / "labels.csv").notes
    assert "scans left out, each listed in left_out.csv: copy 1; late 2" in notes
    info = yaml.safe_load((out / "survival.yaml").read_text())
    assert info["root"] == yaml.safe_load((out / "labels.yaml").read_text())["root"]
    assert info["counts"] == {"subjects": 1, "events": 0} and info["adapter"] == "fake-conversion@1"


def test_gaps_are_rounded(tmp_path: Path) -> None:
    table_of("all", gathered(row("a", 9, "CN", months=0.3), row("a", 33, "CN", months=1.1)), tmp_path)
    assert (tmp_path / "cohort" / "pairs.csv").read_text().splitlines()[1] == "a,a_9,a_33,0.8"


def test_a_table_without_rows_is_no_file(tmp_path: Path) -> None:
    write_table(tmp_path / "x.csv", [{"a": 1, "b": "c,d"}, {"a": 2, "b": None}])
    assert (tmp_path / "x.csv").read_text() == 'a,b\n1,"c,d"\n2,\n'
    write_table(tmp_path / "x.csv", [])
    write_table(tmp_path / "x.csv", [])
    assert not list(tmp_path.iterdir())


def test_another_table_is_not_replaced(tmp_path: Path) -> None:
    table_of("all", gathered(*people(3)), tmp_path)
    before = {f.name: f.read_bytes() for f in (tmp_path / "cohort").iterdir()}
    with pytest.raises(CohortError):
        table_of("ad-cn", gathered(row("p", 0)), tmp_path)
    assert {f.name: f.read_bytes() for f in (tmp_path / "cohort").iterdir()} == before


@pytest.mark.parametrize("name", ["pairs.csv", "left_out.csv", "survival.csv"])
def test_tables_of_these_names_that_it_did_not_write_stay(tmp_path: Path, name: str) -> None:
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / name).write_text("mine")
    with pytest.raises(StoreError, match=name):
        table_of("all", gathered(*people(3)), tmp_path)
    assert {f.name: f.read_text() for f in (tmp_path / "cohort").iterdir()} == {name: "mine"}


def test_a_table_of_another_task_is_not_replaced(tmp_path: Path) -> None:
    table_of("all", gathered(*people(3)), tmp_path)
    with pytest.raises(StoreError, match="did not write"):
        table_of("ad-cn", gathered(*people(3)), tmp_path)
    assert len(table_of("all", gathered(*people(4)), tmp_path)) == 8


def test_other_adapters_write_nothing_more(tmp_path: Path) -> None:
    adapter = get_adapter("acevedo")
    adapter.write_more(None, Found([]), [])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_rows_are_those_of_find() -> None:
    fake = Fake("mci-cn", given=gathered(*people(6)))
    found = fake.find(Path())
    assert isinstance(found, BrainFound)
    assert [r["record_id"] for r in fake.rows(Path())] == [r["record_id"] for r in found.rows]
    assert {r["label"] for r in found.rows} == {"CN", "MCI"}


@pytest.fixture
def every_set(tmp_path: Path) -> Iterator[dict[str, Path]]:
    """The six sets, ten people of two sessions each (one of OASIS-1 and IXI)."""
    roots = {name: tmp_path / name for name in SETS}
    merge: list[dict[str, Any]] = []
    aibl: dict[str, list[dict[str, Any]]] = {"pdxconv": [], "ptdemog": [], "mri3meta": []}
    one, two, three, ixi = [], [], [], []
    for i in range(10):
        who, classes = f"999_S_{i:04d}", (("CN", "MCI", "AD")[i % 3], ("CN", "AD", "AD")[i % 3])
        for v, (code, year) in enumerate((("bl", 2006), ("m12", 2007))):
            day = f"{year}-03-{i + 10}"
            archived(roots["adni"] / "ADNI", who, day, 10 * i + v)
            merge.append(merge_row(who, code, day, classes[v]))
            archived(roots["aibl"] / "AIBL", str(i + 1), day, 10 * i + v, "MPRAGE")
            visit = {"RID": i + 1, "SITEID": 1, "VISCODE": code}
            aibl["pdxconv"].append({**visit, "DXCURREN": {"CN": 1, "MCI": 2, "AD": 3}[classes[v]]})
            aibl["mri3meta"].append({**visit, "EXAMDATE": f"3/{i + 10}/{year}"})
            aibl["ptdemog"].append({**visit, "PTGENDER": 1, "PTDOB": "/1940"})
            name = f"OAS2_9{i:03d}_MR{v + 1}"
            put(roots["oasis2"], f"{name}/RAW/mpr-1.nifti.hdr", f"{name}/RAW/mpr-1.nifti.img")
            two.append(
                {
                    "Subject ID": name[:9],
                    "MRI ID": name,
                    "Group": "Converted",
                    "MR Delay": 365 * v,
                    "M/F": "F",
                    "Age": 70,
                    "CDR": v / 2,
                }
            )
            day3 = f"OAS39{i:03d}_MR_d{365 * v:04d}/anat1/sub-OAS39{i:03d}_sess-d{365 * v:04d}_T1w.nii.gz"
            put(roots["oasis3"], day3)
            three.append(
                {"OASISID": f"OAS39{i:03d}", "days_to_visit": 365 * v, "NORMCOG": int(i % 3 == 0),
                 "MCIAMEM": int(i % 3 > 0 and v == 0), "DEMENTED": int(i % 3 > 0 and v == 1), "PROBAD": int(i % 3 > 0 and v == 1)}
            )  # fmt: skip
        name = f"OAS1_9{i:03d}_MR1"
        masked = f"disc1/{name}/PROCESSED/MPRAGE/T88_111/{name}_mpr_n4_anon_111_t88_masked_gfc"
        put(roots["oasis1"], f"{masked}.hdr", f"{masked}.img")
        one.append({"ID": name, "M/F": "F", "Age": 70, "CDR": (0, 0.5)[i % 2], "Delay": "N/A"})
        put(roots["ixi"], f"IXI9{i:02d}-HH-1000-T1.nii.gz")
        ixi.append({"IXI_ID": 900 + i, "SEX_ID (1=m, 2=f)": 1, "AGE": 40 + i, "DOB": "1960-01-01"})
    sheet(roots["adni"] / "ADNIMERGE.csv", merge)
    for name, rows in aibl.items():
        sheet(roots["aibl"] / f"aibl_{name}_01-Jun-2018.csv", rows)
    sheet(roots["oasis1"] / "oasis_cross-sectional.csv", one)
    sheet(roots["oasis2"] / "oasis_longitudinal.csv", two)
    sheet(roots["oasis3"] / "OASIS3_UDSd1_diagnoses.csv", three)
    sheet(roots["ixi"] / "IXI.csv", ixi)
    yield roots


def test_what_every_set_promises(every_set: dict[str, Path]) -> None:
    """No subject in two splits, no date but in the archive's paths, pairs and follow-up of known records, loadable."""
    for name, root in every_set.items():
        table, done = made(name, root, splits="ldae")
        assert table.groupby("patient_id")["split"].nunique().eq(1).all(), name
        assert set(table["split"]) == {"train", "val", "test"}, name
        assert dates_in(done) == [], name
        assert done.counts["subjects"] == 10, name
        pairs = beside(done, "pairs.csv")
        assert len(pairs) == (0 if name in ("ixi", "oasis1") else 10), name
        for pair in pairs:
            assert {table.loc[pair[k], "patient_id"] for k in ("first", "second")} == {pair["patient_id"]}
            assert float(pair["gap_months"]) == 12
        assert load_cohort(done.table).table["patient_id"].nunique() == 10
        followed = beside(done, "survival.csv")
        assert bool(followed) == (name in ("adni", "aibl", "oasis3")), name
        for record in followed:
            assert record["event"] == "1" and float(record["time"]) == 12.0
            assert table.loc[record["record_id"], ["label", "split"]].tolist() == ["MCI", record["split"]]
        assert not beside(done, "left_out.csv"), name


def test_from_the_command_line(every_set: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [
        "data",
        "prepare",
        "adni-ad-cn@original",
        "--source",
        str(every_set["adni"]),
        "--out",
        str(tmp_path / "out"),
    ]
    with pytest.raises(SystemExit) as stop:
        main([*given, "--splits", "ldae"])
    assert stop.value.code == 0
    assert "records ->" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([*given[:-1], str(tmp_path / "other"), "--splits", "lade"])
    assert stop.value.code == 2
    assert "no published split files" in capsys.readouterr().err
