"""Volumes of the head made ready once for a whole cohort: bias field, brain mask, registration, crop."""
