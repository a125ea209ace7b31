"""What the columns of a table are: who the patient is, the label, the split, groups, words.

Known by their names, in English, German, French, Spanish, Italian and Dutch, and by their values. A patient is never
known by values: a column of numbers may count images.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

from medvfm.io.dataset import column_names
from medvfm.io.dataset.layout_rows import as_text, is_unknown
from medvfm.pipeline.proposing.found import Column

_LABEL = re.compile(
    r"label|class|klasse|diagnos|befund|finding|target|outcome|ground.?truth|\bgt\b|\by\b|grade|\bgrad\b|stage|stadium|"
    r"patholog|ergebnis|result|verdict|etiqueta|esito|malign",
    re.IGNORECASE,
)
_SPLIT = re.compile(r"split|fold|subset|partition|\bset\b|phase", re.IGNORECASE)
_MASK = re.compile(r"mask|seg|contour|kontur|annotation", re.IGNORECASE)
_TEXT = re.compile(r"report|text|caption|impression|findings|befund|bericht|description", re.IGNORECASE)
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
           "tune": "val", "test": "test", "testing": "test"}  # fmt: skip
YES = {"1", "1.0", "yes", "y", "ja", "j", "oui", "si", "sí", "true", "wahr", "positive", "positiv", "pos", "present",
       "vorhanden", "+"}  # fmt: skip
NO = {"0", "0.0", "no", "n", "nein", "non", "false", "falsch", "negative", "negativ", "neg", "absent", "none", "kein",
      "keine", "nee", "-"}  # fmt: skip
UNSURE = {"-1", "-1.0", "?", "unclear", "unklar", "uncertain", "unsicher", "maybe", "fraglich", "equivocal",
          "indeterminate"}  # fmt: skip
CLASSES_MOST = 12
WORDS_LEAST = 25  # letters of a report, on average
DISTINCT_LEAST = 0.5  # share of reports that are unlike all others; lists of findings are not


def of_records(records: Sequence[Mapping[str, object]], names: Sequence[str]) -> list[Column]:
    """The columns of a table's rows."""
    found = []
    for name in names:
        counts: dict[str, int] = {}
        empty = 0
        for record in records:
            value = record.get(name)
            if is_unknown(value):
                empty += 1
            else:
                text = as_text(value)
                counts[text] = counts.get(text, 0) + 1
        found.append(Column(name, counts, empty))
    return found


def group_of(column: Column) -> str | None:
    """Our name of the group that a column is known to be."""
    return column_names.group_of(column.name)


def patients(columns: Sequence[Column]) -> list[Column]:
    """Columns whose name says that they name patients."""
    return [c for c in columns if column_names.of_patients(c.name) and c.usable and c.counts]


def split(columns: Sequence[Column]) -> tuple[Column, dict[str, str]] | None:
    """The column that says train, val and test, and what its values mean."""
    for column in columns:
        known = {value: _SPLITS.get(value.lower()) for value in column.counts}
        if _SPLIT.search(column.name) and column.usable and {"train", "test"} <= set(known.values()) and None not in {
            *known.values()
        }:  # fmt: skip
            return column, {value: meant for value, meant in known.items() if meant is not None}
    return None


def is_yes_or_no(column: Column) -> bool:
    values = {value.lower() for value in column.counts}
    return bool(values & YES and values & NO) and values <= YES | NO | UNSURE


def labels(columns: Sequence[Column], rows: int) -> list[Column]:
    """Columns that may be the label: those whose name says so, else all with a yes or no, else all of few values."""
    able = [c for c in columns if c.usable and 2 <= len(c.counts) <= min(CLASSES_MOST, max(2, rows // 4))]
    able = [c for c in able if group_of(c) is None and not _SPLIT.search(c.name)]
    named = [c for c in able if _LABEL.search(c.name.replace("_", " "))]
    return named or [c for c in able if is_yes_or_no(c)] or able


def mask_like(column: Column) -> bool:
    return bool(_MASK.search(column.name))


def texts(columns: Sequence[Column]) -> list[Column]:
    """Columns of reports or captions."""
    found = [c for c in columns if c.usable and _TEXT.search(c.name) and c.counts]
    written = [c for c in found if len(c.counts) >= DISTINCT_LEAST * sum(c.counts.values())]
    return [c for c in written if sum(map(len, c.counts)) / len(c.counts) >= WORDS_LEAST]


def called(columns: Sequence[Column], *names: str) -> Column | None:
    """The column of one of these names, whatever its case."""
    return next((c for n in names for c in columns if c.usable and c.name.lower().replace(" ", "_") == n), None)


def is_number(column: Column) -> bool:
    return bool(column.counts) and all(re.fullmatch(r"-?\d+([.,]\d+)?", value) for value in column.counts)


def plain_name(text: str, otherwise: str = "class") -> str:
    """`befund_pneumonie` for `Befund Pneumonie`, `rontgen_2024` for `Röntgen 2024`: letters, numbers, underscores."""
    ascii_text = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", ascii_text.lower()).strip("_") or otherwise
