"""Model cards, registry, weights, key maps, preprocessing and architectures."""
