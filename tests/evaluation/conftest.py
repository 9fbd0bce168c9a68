"""Makes the helpers of this folder importable by their own names."""
