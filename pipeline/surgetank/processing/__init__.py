"""The processing steps of a batch, from records to outputs."""
