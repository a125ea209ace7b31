"""The DICOM attributes that are read: keyword to tag and value representation (PS3.6, chapter 6)."""

from __future__ import annotations

PIXEL_DATA = 0x7FE00010
FLOAT_PIXEL_DATA = 0x7FE00008
DOUBLE_PIXEL_DATA = 0x7FE00009

_LINES = """
00041220 SQ DirectoryRecordSequence
00080005 CS SpecificCharacterSet
00080008 CS ImageType
00080016 UI SOPClassUID
00080018 UI SOPInstanceUID
00080020 DA StudyDate
00080021 DA SeriesDate
00080022 DA AcquisitionDate
0008002A DT AcquisitionDateTime
00080031 TM SeriesTime
00080032 TM AcquisitionTime
00080033 TM ContentTime
00080050 SH AccessionNumber
00080060 CS Modality
00080070 LO Manufacturer
00081030 LO StudyDescription
0008103E LO SeriesDescription
00081090 LO ManufacturerModelName
00081140 SQ ReferencedImageSequence
00081155 UI ReferencedSOPInstanceUID
00081160 IS ReferencedFrameNumber
00082112 SQ SourceImageSequence
00089007 CS FrameType
00089124 SQ DerivationImageSequence
00089215 SQ DerivationCodeSequence
00100010 PN PatientName
00100020 LO PatientID
00100030 DA PatientBirthDate
00100040 CS PatientSex
00101000 LO OtherPatientIDs
00101001 PN OtherPatientNames
00101005 PN PatientBirthName
00101010 AS PatientAge
00101020 DS PatientSize
00101030 DS PatientWeight
00180015 CS BodyPartExamined
00180050 DS SliceThickness
00180060 DS KVP
00180080 DS RepetitionTime
00180081 DS EchoTime
00180082 DS InversionTime
00180086 IS EchoNumbers
00180088 DS SpacingBetweenSlices
00181030 LO ProtocolName
00181060 DS TriggerTime
00181072 TM RadiopharmaceuticalStartTime
00181074 DS RadionuclideTotalDose
00181075 DS RadionuclideHalfLife
00181078 DT RadiopharmaceuticalStartDateTime
00181120 DS GantryDetectorTilt
00181164 DS ImagerPixelSpacing
00181210 SH ConvolutionKernel
00181242 IS ActualFrameDuration
00181310 US AcquisitionMatrix
00181314 DS FlipAngle
00182010 DS NominalScannedPixelSpacing
00185100 CS PatientPosition
00185101 CS ViewPosition
00186011 SQ SequenceOfUltrasoundRegions
00186012 US RegionSpatialFormat
00186018 UL RegionLocationMinX0
0018601A UL RegionLocationMinY0
0018601C UL RegionLocationMaxX1
0018601E UL RegionLocationMaxY1
00186024 US PhysicalUnitsXDirection
00186026 US PhysicalUnitsYDirection
0018602C FD PhysicalDeltaX
0018602E FD PhysicalDeltaY
00189073 FD AcquisitionDuration
00189074 DT FrameAcquisitionDateTime
00189075 CS DiffusionDirectionality
00189076 SQ DiffusionGradientDirectionSequence
00189226 SQ MRImageFrameTypeSequence
00189329 SQ CTImageFrameTypeSequence
00189087 FD DiffusionBValue
00189089 FD DiffusionGradientOrientation
00189114 SQ MREchoSequence
00189117 SQ MRDiffusionSequence
00189082 FD EffectiveEchoTime
00209153 FD NominalCardiacTriggerDelayTime
00189118 SQ CardiacSynchronizationSequence
00189151 DT FrameReferenceDateTime
0020000D UI StudyInstanceUID
0020000E UI SeriesInstanceUID
00200011 IS SeriesNumber
00200012 IS AcquisitionNumber
00200013 IS InstanceNumber
00200020 CS PatientOrientation
00200032 DS ImagePositionPatient
00200037 DS ImageOrientationPatient
00200052 UI FrameOfReferenceUID
00200060 CS Laterality
00200062 CS ImageLaterality
00200100 IS TemporalPositionIdentifier
00209056 SH StackID
00209057 UL InStackPositionNumber
00209111 SQ FrameContentSequence
00209156 US FrameAcquisitionNumber
00209113 SQ PlanePositionSequence
00209116 SQ PlaneOrientationSequence
00209128 UL TemporalPositionIndex
00209157 UL DimensionIndexValues
00280002 US SamplesPerPixel
00280004 CS PhotometricInterpretation
00280006 US PlanarConfiguration
00280008 IS NumberOfFrames
00280010 US Rows
00280011 US Columns
00280030 DS PixelSpacing
00280034 IS PixelAspectRatio
00280051 CS CorrectedImage
00280100 US BitsAllocated
00280101 US BitsStored
00280102 US HighBit
00280103 US PixelRepresentation
00280120 XS PixelPaddingValue
00280121 XS PixelPaddingRangeLimit
00280301 CS BurnedInAnnotation
00280A02 CS PixelSpacingCalibrationType
00281050 DS WindowCenter
00281051 DS WindowWidth
00281052 DS RescaleIntercept
00281053 DS RescaleSlope
00281054 LO RescaleType
00281056 CS VOILUTFunction
00281101 US RedPaletteColorLookupTableDescriptor
00281102 US GreenPaletteColorLookupTableDescriptor
00281103 US BluePaletteColorLookupTableDescriptor
00281201 OW RedPaletteColorLookupTableData
00281202 OW GreenPaletteColorLookupTableData
00281203 OW BluePaletteColorLookupTableData
00281221 OW SegmentedRedPaletteColorLookupTableData
00281222 OW SegmentedGreenPaletteColorLookupTableData
00281223 OW SegmentedBluePaletteColorLookupTableData
00283000 SQ ModalityLUTSequence
00283002 XS LUTDescriptor
00283006 OW LUTData
00283010 SQ VOILUTSequence
00289110 SQ PixelMeasuresSequence
00289132 SQ FrameVOILUTSequence
00289145 SQ PixelValueTransformationSequence
00480006 UL TotalPixelMatrixColumns
00480007 UL TotalPixelMatrixRows
00480302 UL NumberOfOpticalPaths
00480303 UL TotalPixelMatrixFocalPlanes
0048021A SQ PlanePositionSlideSequence
0048021E SL ColumnPositionInTotalImagePixelMatrix
0048021F SL RowPositionInTotalImagePixelMatrix
00200242 UI SOPInstanceUIDOfConcatenationSource
00209228 UL ConcatenationFrameOffsetNumber
00209311 CS DimensionOrganizationType
00321060 LO RequestedProcedureDescription
00400254 LO PerformedProcedureStepDescription
00540016 SQ RadiopharmaceuticalInformationSequence
00540022 SQ DetectorInformationSequence
00540080 US SliceVector
00541001 CS Units
00541002 CS CountsSource
00540101 US NumberOfTimeSlices
00541102 CS DecayCorrection
00541006 CS SUVType
00541300 DS FrameReferenceTime
00541321 DS DecayFactor
00620001 CS SegmentationType
00620002 SQ SegmentSequence
00620004 US SegmentNumber
00620005 LO SegmentLabel
0062000A SQ SegmentIdentificationSequence
0062000B US ReferencedSegmentNumber
0062000E US MaximumFractionalValue
00620010 CS SegmentationFractionalType
20500020 CS PresentationLUTShape
30040002 CS DoseUnits
30040004 CS DoseType
3004000C DS GridFrameOffsetVector
3004000E DS DoseGridScaling
30060010 SQ ReferencedFrameOfReferenceSequence
30060016 SQ ContourImageSequence
30060020 SQ StructureSetROISequence
30060022 IS ROINumber
30060024 UI ReferencedFrameOfReferenceUID
30060026 LO ROIName
30060039 SQ ROIContourSequence
30060040 SQ ContourSequence
30060042 CS ContourGeometricType
30060046 IS NumberOfContourPoints
30060050 DS ContourData
30060084 IS ReferencedROINumber
52009229 SQ SharedFunctionalGroupsSequence
52009230 SQ PerFrameFunctionalGroupsSequence
"""

# XS is US or SS, as PixelRepresentation says
TAGS: dict[str, tuple[int, bytes]] = {
    keyword: (int(tag, 16), vr.encode()) for tag, vr, keyword in (line.split() for line in _LINES.strip().splitlines())
}

_SYNTAXES = """
1.2.840.10008.1.2 Implicit VR Little Endian
1.2.840.10008.1.2.1 Explicit VR Little Endian
1.2.840.10008.1.2.1.98 Encapsulated Uncompressed Explicit VR Little Endian
1.2.840.10008.1.2.1.99 Deflated Explicit VR Little Endian
1.2.840.10008.1.2.2 Explicit VR Big Endian
1.2.840.10008.1.2.5 RLE Lossless
1.2.840.10008.1.2.4.50 JPEG Baseline
1.2.840.10008.1.2.4.51 JPEG Extended
1.2.840.10008.1.2.4.57 JPEG Lossless
1.2.840.10008.1.2.4.70 JPEG Lossless SV1
1.2.840.10008.1.2.4.80 JPEG-LS Lossless
1.2.840.10008.1.2.4.81 JPEG-LS Near-Lossless
1.2.840.10008.1.2.4.90 JPEG 2000 Lossless
1.2.840.10008.1.2.4.91 JPEG 2000
1.2.840.10008.1.2.4.92 JPEG 2000 Part 2 Lossless
1.2.840.10008.1.2.4.93 JPEG 2000 Part 2
1.2.840.10008.1.2.4.100 MPEG2 Main Profile Main Level
1.2.840.10008.1.2.4.101 MPEG2 Main Profile High Level
1.2.840.10008.1.2.4.102 MPEG-4 AVC/H.264 High Profile
1.2.840.10008.1.2.4.103 MPEG-4 AVC/H.264 BD-compatible High Profile
1.2.840.10008.1.2.4.104 MPEG-4 AVC/H.264 High Profile for 2D Video
1.2.840.10008.1.2.4.105 MPEG-4 AVC/H.264 High Profile for 3D Video
1.2.840.10008.1.2.4.106 MPEG-4 AVC/H.264 Stereo High Profile
1.2.840.10008.1.2.4.107 HEVC/H.265 Main Profile
1.2.840.10008.1.2.4.108 HEVC/H.265 Main 10 Profile
1.2.840.10008.1.2.4.110 JPEG XL Lossless
1.2.840.10008.1.2.4.111 JPEG XL JPEG Recompression
1.2.840.10008.1.2.4.112 JPEG XL
1.2.840.10008.1.2.4.201 HTJ2K Lossless
1.2.840.10008.1.2.4.202 HTJ2K Lossless RPCL
1.2.840.10008.1.2.4.203 HTJ2K
1.2.840.10008.1.2.8.1 Deflated Image Frame Compression
"""
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
DICOM_SUFFIXES = (".dcm", ".dicom", ".dic", ".ima")  # so named, a file that is no DICOM is one that was lost
RLE = "1.2.840.10008.1.2.5"
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
SYNTAX_NAMES: dict[str, str] = dict(line.split(" ", 1) for line in _SYNTAXES.strip().splitlines())
