"""Tables of records: loading, checks, splits, adapters for public data sets."""
