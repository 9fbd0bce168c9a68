"""Few-shot adapters: small models fitted on frozen embeddings, text vectors or tokens."""
