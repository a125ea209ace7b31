"""Pictures with questions about what is seen in them."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.samples.studies import PictureStudy

DISC, BAR = "Is there a disc?", "How is the bar: dark or absent?"
STAGES = [
    {"method": "align", "train": {"epochs": 1, "batch_size": 8, "learning_rate": 3e-3}},
    {"method": "instruct", "train": {"epochs": 2, "batch_size": 8, "learning_rate": 3e-3}},
]


class QuestionStudy(PictureStudy):
    """48 pictures with two questions each, and a caption. `recipe(**overrides)` asks the adapter llava."""

    def __init__(self, folder: Path, cases: int = 48) -> None:
        super().__init__(folder, cases)
        self.pictures, self.rows = self.rows, []
        for row in self.pictures:
            disc, bar = ("yes" if row["disc"] else "no"), ("dark" if row["bar"] else "absent")
            text = f"{'A' if row['disc'] else 'No'} disc. The bar is {bar}."
            for kind, question, answer in (("disc", DISC, disc), ("bar", BAR, bar)):
                own = {"case_id": f"{row['case_id']}_{kind}", "question": question, "answer": answer}
                self.rows.append(row | own | {"question_type": kind, "image_id": row["case_id"], "text": text})

    def card(self) -> str:
        path = Path(super().card())
        card = yaml.safe_load(path.read_text())
        fields = ("question", "answer", "question_type", "image_id", "text")
        card["layouts"][0] |= {name: f"{{{name}}}" for name in fields}
        path.write_text(yaml.safe_dump(card))
        return str(path)

    def recipe(self, stages=None, **changes):
        own = changes.pop("adapter", {})
        options = {"grid": 1, "answer_tokens": 12, "connector": "mlp", "template": "plain"} | own.pop("options", {})
        adapter = {"name": "llava", "weights": "tiny", "stages": STAGES if stages is None else stages}
        plain = {
            "prepare": {"size": 32},
            "task": {"name": "question_answering"},
            "adapter": adapter | own | {"options": options},
            "select": {"metric": "exact_match"},
            "evaluate": {"metrics": ["closed_accuracy", "exact_match"], "confidence": {"resamples": 100}},
        }
        return super().recipe(**(plain | changes))
