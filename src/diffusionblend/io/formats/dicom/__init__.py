"""DICOM: a CT series read as a volume, and one derived from it written."""
