"""One file per modality: the physical contract, the canonical record, its checks."""
