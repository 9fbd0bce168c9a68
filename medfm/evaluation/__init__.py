"""Probes, metrics and patient-level statistics."""
