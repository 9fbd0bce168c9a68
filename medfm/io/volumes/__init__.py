"""Volumes of magnetic resonance imaging: NIfTI, MGH, Analyze, NRRD and DICOM series in one form."""
