"""The Confluent frame: the prefix of each Avro body on the wire."""

MAGIC = b"\x00"
FRAME_BYTES = 5  # the magic byte and the schema's id


def frame(schema_id: int) -> bytes:
    """Return the five bytes before a body written with that schema."""
    return MAGIC + schema_id.to_bytes(FRAME_BYTES - 1, "big")
