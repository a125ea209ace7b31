"""The basic application level confidentiality profile as data: each attribute's action (PS3.15 Annex E, table E.1-1).

The table comes from the package dicom-anonymizer (Kitware, BSD), which follows the standard's editions; only its rows
are used. The actions are carried out in dataset.py. Compound actions leave a choice that depends on whether
the information object requires the attribute (E.1, "X unless Z or D is required"). It is settled here without knowing
the object, by the action that every object allows: D where D is among them, else Z. A dummy in place of an optional
value says nothing about the patient, and a missing value that is required makes the file invalid.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Any

EDITION = "2026c"


class Action(StrEnum):
    """The codes of table E.1-1, and what happens where the table has no row."""

    DUMMY = "D"
    EMPTY = "Z"
    REMOVE = "X"
    UID = "U"
    KEEP = "K"
    CLEAN = "C"


_GROUPS = {
    "D_TAGS": "D",
    "Z_TAGS": "Z",
    "X_TAGS": "X",
    "U_TAGS": "U",
    "Z_D_TAGS": "Z/D",
    "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D",
    "X_Z_D_TAGS": "X/Z/D",
    "X_Z_U_STAR_TAGS": "X/Z/U*",
}
# Sequences that objects hold as an option (type 3): X/D and X/Z/D let them go, as a dummy item says nothing.
_OPTIONAL_SEQUENCES = frozenset({0x00081072, 0x00080082, 0x0040B020})
# What table E.1-1 says by rule and not by row, or leaves to the de-identifier.
_BY_RULE = {
    0x04000500: Action.REMOVE,  # Encrypted Attributes Sequence: anyone with its key could undo this
    0x00120064: Action.REMOVE,  # Deidentification Method Code Sequence and Method: written anew
    0x00120063: Action.REMOVE,
    # Missing in the table, and as telling as what it lists beside them.
    0x00100033: Action.REMOVE,  # Patient's Birth Date and Death Date in Alternative Calendar
    0x00100034: Action.REMOVE,
    0x00102294: Action.EMPTY,  # Breed Registration Sequence: numbers of one animal
    0x00401006: Action.REMOVE,  # order numbers of retired attributes
    0x00401007: Action.REMOVE,
    0x00402006: Action.REMOVE,
    0x00402007: Action.REMOVE,
    0x00400031: Action.DUMMY,  # Local Namespace and Universal Entity ID: who gave an identifier is the institution
    0x00400032: Action.DUMMY,
    0x0040E001: Action.REMOVE,  # HL7 Instance Identifier
    0x00181003: Action.DUMMY,  # Device ID
    0x30020020: Action.EMPTY,  # Radiation Machine Name, as Treatment Machine Name
}
_REPEATING = ((0x5000, 0xFF00), (0x6000, 0xFF00))  # curves; overlays with data and comments
# UIDs that name a kind of thing and never an instance of it.
_CLASS_UIDS = ("SOPClass", "SOPClasses", "TransferSyntax")
_CLASS_KEYWORDS = frozenset({"CodingSchemeUID", "ContextUID", "MappingResourceUID", "ContextGroupExtensionCreatorUID"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Retain Patient Characteristics Option: the attributes that hold numbers and codes.
CHARACTERISTICS = _words(
    "PatientAge PatientSex PatientSexNeutered PatientSize PatientWeight EthnicGroup SmokingStatus PregnancyStatus"
)
# Clean Descriptors Option, the part of it that research uses; report text (Clean Structured Content) goes with it.
DESCRIPTORS = _words(
    "StudyDescription SeriesDescription ProtocolName DerivationDescription RequestedProcedureDescription"
    " PerformedProcedureStepDescription StructureSetLabel StructureSetName ROIName ROIDescription ROIObservationLabel"
    " ROIObservationDescription"
)
PROSE = ("Comment", "Comments", "Description", "Explanation", "Label")  # keywords of free text end so
BIRTH = _words("PatientBirthDate PatientBirthTime")  # no option of the profile keeps them, shifted or not
# Attributes whose values are searched for in everything that is kept; person names are searched for anyway.
IDENTIFYING = _words(
    "PatientID OtherPatientIDs PatientBirthDate PatientAddress PatientTelephoneNumbers PatientTelecomInformation"
    " MedicalRecordLocator MilitaryRank InsurancePlanIdentification IssuerOfPatientID AccessionNumber StudyID"
    " AdmissionID ServiceEpisodeID InstitutionName InstitutionAddress InstitutionalDepartmentName StationName"
    " DeviceSerialNumber RequestingService RequestedProcedureID ScheduledProcedureStepID PerformedProcedureStepID"
    " PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest ReferringPhysicianAddress"
    " ReferringPhysicianTelephoneNumbers PersonAddress PersonTelephoneNumbers ResponsibleOrganization BarcodeValue"
    " ClinicalTrialSubjectID ClinicalTrialSubjectReadingID ClinicalTrialSponsorName ClinicalTrialSiteName"
    " ContainerIdentifier SpecimenIdentifier SpecimenAccessionNumber"
)


@cache
def rows() -> dict[int, str]:
    """Tag to the basic profile's code as printed, such as X/Z/D; overlays, curves and private tags apart."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    table: dict[str, Iterable[Any]] = dicom_anonymization_database_selector(f"dicomfields_{EDITION}")
    found = {tag[0] << 16 | tag[1]: code for group, code in _GROUPS.items() for tag in table[group] if len(tag) == 2}
    if len(found) < 600:
        raise RuntimeError(f"the table of attributes holds {len(found)} rows; PS3.15 {EDITION} has more than 600")
    return found


@cache
def action(tag: int, vr: str, keyword: str = "") -> Action:
    """The one action for a public attribute, without dates: those are a choice of the caller."""
    if any(tag >> 16 & mask == group for group, mask in _REPEATING) or not tag & 0xFFFF or tag >> 16 >= 0xFFFA:
        return Action.REMOVE  # overlays, curves, group lengths, signatures, padding
    if tag in _BY_RULE:
        return _BY_RULE[tag]
    code = rows().get(tag)
    if code is None:
        return _unlisted(vr, keyword)
    if code == "X/Z/U*":
        return Action.CLEAN  # a sequence of references: its UIDs are replaced inside
    if tag in _OPTIONAL_SEQUENCES:
        return Action.REMOVE
    last = code.rsplit("/", 1)[-1]
    return Action(last)


def _unlisted(vr: str, keyword: str) -> Action:
    """The profile keeps what it does not list; names, network addresses and UIDs of instances go all the same."""
    if not keyword or vr in ("UN", "UR"):
        return Action.REMOVE  # no dictionary knows it, so nobody can say that it is safe
    if vr in ("PN", "AE"):
        return Action.EMPTY
    if vr == "UI":
        kind = keyword in _CLASS_KEYWORDS or ("Instance" not in keyword and any(c in keyword for c in _CLASS_UIDS))
        return Action.KEEP if kind else Action.UID
    return Action.CLEAN
