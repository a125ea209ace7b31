"""What cases are called in a run: hashes that lead back through one private table, or safe ids as they are."""

import stat

import pandas as pd

from medvfm.core.case import Case
from medvfm.io.dataset import case_names


def cases(*names):
    return [Case(name, f"p{n}", {}) for n, name in enumerate(names)]


def test_hidden_ids_are_hashes_that_stay_the_same_and_safe_ids_stay():
    ids = ["ACC5501001", "ACC5501002"]
    first, again = (case_names.names(ids, safe=False) for _ in range(2))
    assert first == again and len(set(first.values())) == 2
    assert all(len(name) == 16 and "5501" not in name for name in first.values())
    assert case_names.names(ids, safe=True) == {i: i for i in ids}


def test_stems_are_distinct_whatever_the_ids():
    ids = ("张三", "李四", "a b", "a_b", "A_B", "a/b")
    for safe in (True, False):
        stems = [case.stem for case in case_names.with_stems(cases(*ids), safe=safe)]
        assert len({stem.casefold() for stem in stems}) == len(ids)
    assert case_names.with_stems(cases("张三"), safe=True)[0].stem == "张三"


def test_a_private_table_leads_back(tmp_path):
    named = case_names.names(["ACC1", "ACC2"], safe=False)
    case_names.write(tmp_path, {"ACC1": "Doe", "ACC2": "Roe"}, named, {"Doe": "d1", "Roe": "r1"})
    table = pd.read_csv(tmp_path / "private/cases.csv", dtype=str).set_index("name")
    assert table.loc[named["ACC2"]].tolist() == ["ACC2", "r1", "Roe"]
    assert stat.S_IMODE((tmp_path / "private/cases.csv").stat().st_mode) == 0o600


def test_a_reason_names_neither_file_nor_case():
    said = case_names.impersonal("/data/DOE_JANE/ACC77.dcm: pixels of ACC77 end early", "ACC77")
    assert "DOE" not in said and "ACC77" not in said and "end early" in said


def test_reasons_for_the_record_hide_what_hidden_ids_hide():
    left_out = [("ACC77", "/data/DOE_JANE/ACC77.dcm: pixels of ACC77 end early")]
    hidden = case_names.reasons(left_out, safe=False)[0]
    assert hidden["case_id"] == case_names.names(["ACC77"], safe=False)["ACC77"]
    assert "ACC77" not in hidden["reason"] and "DOE" not in hidden["reason"] and "end early" in hidden["reason"]
    assert case_names.reasons(left_out, safe=True) == [{"case_id": "ACC77", "reason": left_out[0][1]}]
