"""JSON values to columns and back: the fields and their types come from an Avro schema."""
