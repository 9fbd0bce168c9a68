"""Removing who the patient is from DICOM files (PS3.15 Annex E, Basic Application Level Confidentiality Profile)."""
