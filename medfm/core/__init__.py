"""Ground floor: errors, strict configuration, progress, hashing, atomic files, randomness."""
