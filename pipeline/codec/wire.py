"""The Confluent frame: what stands before each Avro body on the wire."""

MAGIC = b"\x00"
FRAME_BYTES = 5  # the magic byte and the schema's id


def frame(schema_id: int) -> bytes:
    """Return the five bytes that stand before a body written with that schema."""
    return MAGIC + schema_id.to_bytes(FRAME_BYTES - 1, "big")
