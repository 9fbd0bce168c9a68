"""Extraction pipeline and content-addressed store."""
