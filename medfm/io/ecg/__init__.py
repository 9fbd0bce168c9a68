"""Electrocardiogram files -> channels as stored, with their names, units and rate; one file per format."""
