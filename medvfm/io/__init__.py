"""Files and folders: everything that is read from disk or written to it.

formats (NIfTI, NRRD, MetaImage, TIFF, PNG, JPEG, zip), dicom (headers, pixels, series, SEG, RTSTRUCT) and rendering
(windows, outlines, overlays) are the base; read.py makes an Image of any of them; index lists the images of a folder,
deidentify takes out what names a patient, writers store masks and name files; virtual_brain simulates a cohort; dataset
turns a data card and its files into cases, splits and exports. Each imports only from families named before it. From
outside, io is entered by read.py, dataset/, writers/, rendering/, run_directory.py, cache.py, console.py,
user_folders.py, patient_hashes.py and test_openings.py, and by the command line's index/folder.py and
deidentify/folder.py.
"""
