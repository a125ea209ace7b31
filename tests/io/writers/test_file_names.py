"""Names of files made from any names: readable, never two alike, and the same whatever the order."""

import unicodedata

import pytest

from medvfm.io.writers.file_names import stem, stems

NAMES = [
    "张三", "李四", "a b", "a_b", "A_B", "é", "e\u0301", "ö", "x" * 300, "x" * 301, "CON", "aux.nii", ".hidden", "a.",
    "..", "/", "", " ", "a/b", "a\\b", "ﬁ", "fi", "नमस्ते", "Straße", "STRASSE", "1.2.840.113619.2", "-rf", "\udce9bad",
    f"a_b-{'0' * 8}",
]  # fmt: skip


def test_no_two_are_alike_even_where_case_and_accents_are_ignored():
    found = stems(NAMES)
    folded = [unicodedata.normalize("NFKC", name).casefold() for name in found.values()]
    assert len(found) == len(NAMES) == len(set(folded))


def test_each_is_a_name_that_every_file_system_takes(tmp_path):
    for name, found in stems(NAMES).items():
        assert len(found.encode()) <= 120, name
        assert not set(found) & set('/\\:*?"<>| \0') and found[0] not in ".-" and found[-1] != ".", name
        (tmp_path / f"{found}.nii.gz").touch()
    assert len(list(tmp_path.iterdir())) == len(NAMES)


@pytest.mark.parametrize("name", ["张三", "BraTS-001_t1", "1.2.840.113619.2"])
def test_a_good_name_stays(name):
    assert stem(name) == name


def test_the_order_of_the_others_does_not_matter():
    assert stems(NAMES) == stems(NAMES[::-1])


def test_a_name_that_looks_like_another_with_its_digits():
    first = stems(["a b"])["a b"]
    found = stems(["a b", first])
    assert found[first] != found["a b"]


@pytest.mark.parametrize("name", ["con", "CON.txt", "lpt1", "nul"])
def test_names_of_devices_are_changed(name):
    assert stem(name).split("-")[0].lower() != name.lower()
