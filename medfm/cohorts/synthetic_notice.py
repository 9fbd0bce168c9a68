"""The words that every synthetic file and table carries."""

NOTICE = "SYNTHETIC: drawn by medfm; not from any patient"
