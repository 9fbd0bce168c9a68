"""One file per verb: arguments -> workflow -> printed summary."""
