"""Columns of patients are known by their names, and their weights and ages are none."""

from __future__ import annotations

import pytest

from medvfm.io.dataset import column_names


@pytest.mark.parametrize(
    ("names", "best"),
    [
        (["PatientWeight", "PatientAge", "PatientID"], "PatientID"),
        (["patient comment", "Patient Nr."], "Patient Nr."),
        (["MRN", "Alter"], "MRN"),
        (["subject", "subjective_score"], "subject"),
        (["subjective_score", "PatientSex", "PatientPosition", "n_patient_visits", "patient_height"], None),
        (["Patienten-ID"], "Patienten-ID"),
        (["paziente"], "paziente"),
    ],
)
def test_the_best_of_several(names, best):
    assert column_names.names_patients_best(names) == best
