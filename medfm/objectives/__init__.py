"""Losses as pure functions and small modules; they know nothing of the training loop."""
