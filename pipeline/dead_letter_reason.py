"""Declares the steps at which a record can be dead-lettered, and the reasons."""

from enum import StrEnum


class Step(StrEnum):
    """The step that dead-letters a record."""

    DECODE = "decode"
    FEATURES = "features"
    INFER = "infer"
    EMIT = "emit"


class DeadLetterReason(StrEnum):
    """Why a record is dead-lettered: a bounded set, used as a metric label and in the dead letter."""

    NULL_VALUE = "null_value"  # a tombstone
    EMPTY = "empty"  # zero bytes
    TOO_LARGE = "too_large"  # longer than dead_letters.value_bytes_max
    NOT_FRAMED = "not_framed"  # no Confluent magic byte, or fewer than five bytes
    UNKNOWN_SCHEMA = "unknown_schema"  # a schema id that schemas/ does not define for this topic
    UNDECODABLE = "undecodable"  # the bytes do not match the schema
    MODEL_ERROR = "model_error"  # the model raised an exception for this record alone
    NOT_A_NUMBER = "not_a_number"  # the score is NaN or infinite
    NO_FEATURES = "no_features"  # a feature could not be computed
    UNENCODABLE = "unencodable"  # the score could not be encoded
