"""File format -> array."""
