"""Labels of sentences as radiologists write them, judged by a reader, and F1 by counting."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from medvfm.metrics import finding_labels
from medvfm.metrics.finding_labels import FINDINGS, finding_counts, findings

SENTENCES = [  # text, findings that are there, findings that are said to be absent
    ("No pleural effusion or pneumothorax.", "", "effusion pneumothorax"),
    ("No focal consolidation, effusion, or pneumothorax is seen.", "", "consolidation effusion pneumothorax"),
    ("There is no evidence of pneumonia, edema or pleural fluid.", "", "pneumonia edema effusion"),
    ("There is a small left pleural effusion and the heart is not enlarged.", "effusion", "cardiomegaly"),
    ("The heart is mildly enlarged.", "cardiomegaly", ""),
    ("Enlarged cardiac silhouette without edema.", "cardiomegaly", "edema"),
    ("Heart size is normal. Lungs are clear.", "", ""),
    ("Pneumothorax has resolved.", "", "pneumothorax"),
    ("The previously seen pneumothorax is no longer present.", "", "pneumothorax"),
    ("Pleural effusions are absent.", "", "effusion"),
    ("No change in the large right effusion.", "effusion", ""),
    ("No significant interval change of the left lower lobe opacity.", "opacity", ""),
    ("Pneumonia cannot be excluded.", "pneumonia", ""),
    ("We cannot rule out pneumonia.", "pneumonia", ""),
    ("Pneumonia has been ruled out.", "", "pneumonia"),
    ("Possible atelectasis at the bases.", "atelectasis", ""),
    ("No pneumothorax, there is a small effusion.", "effusion", "pneumothorax"),
    ("No pneumothorax but a small effusion.", "effusion", "pneumothorax"),
    ("No pneumothorax, however effusions have increased.", "effusion", "pneumothorax"),
    ("No pneumothorax, a new nodule in the left lung.", "lesion", "pneumothorax"),
    ("Lungs are free of infiltrates, masses and nodules.", "", "opacity lesion"),
    ("Bilateral opacities, atelectasis rather than pneumonia.", "opacity atelectasis", "pneumonia"),
    ("Neither effusion nor pneumothorax.", "", "effusion pneumothorax"),
    ("Old rib fractures. No acute fracture.", "fracture", ""),
    ("Negative for pneumothorax.", "", "pneumothorax"),
    ("Widened mediastinum; hiatal hernia.", "enlarged_mediastinum hernia", ""),
    ("The mediastinum is not widened.", "", "enlarged_mediastinum"),
    ("Pleural thickening at the left apex, hyperinflated lungs", "pleural_thickening emphysema", ""),
    ("NO PNEUMOTHORAX\nLEFT EFFUSION", "effusion", "pneumothorax"),
    ("Right-sided pneumothorax of 3.5 cm. Effusion: none.", "pneumothorax", "effusion"),
    ("", "", ""),
    ("Congestive heart failure with vascular congestion.", "edema", ""),
]


@pytest.mark.parametrize(("text", "there", "absent"), SENTENCES)
def test_findings_of_a_sentence(text, there, absent):
    assert findings(text) == dict.fromkeys(there.split(), True) | dict.fromkeys(absent.split(), False)


def test_a_finding_named_in_one_sentence_and_denied_in_another_is_there():
    assert findings("No effusion on the left. Small effusion on the right.") == {"effusion": True}


def test_a_negation_flip_that_words_hardly_see_changes_the_findings():
    counts = finding_counts("There is no pneumothorax.", "There is a pneumothorax.")
    assert counts.tolist() == [0, 1, 0]


def test_f1_of_many_reports_is_scikit_learns_micro_average():
    rng = np.random.default_rng(3)
    truths, texts = ([SENTENCES[k][0] for k in rng.integers(0, len(SENTENCES), 60)] for _ in range(2))
    total = sum(finding_counts(*pair) for pair in zip(truths, texts, strict=True))
    table = [[[float(findings(t).get(name, False)) for name in FINDINGS] for t in part] for part in (truths, texts)]
    own = float(finding_labels.f1_of(total))
    assert own == pytest.approx(f1_score(np.array(table[0]), np.array(table[1]), average="micro"))
    assert np.isnan(finding_labels.f1_of(np.zeros(3)))
