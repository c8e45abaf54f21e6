"""Reads the headers of a message of confluent-kafka, which cannot represent a header whose name is not UTF-8."""

import gc

from confluent_kafka import Message

from pipeline.records import Headers

# The headers of a record of which one has a name that is not UTF-8: one header with such a name.
UNREADABLE: Headers = (("\udcff", None),)


def headers_of(message: Message) -> Headers:
    """Return the headers of a message; ``UNREADABLE`` for all of them if a name is not UTF-8.

    The client reports such a name by a SystemError, or not at all: then the pair of name and value has a null pointer
    in place of the name, and any access to it would end the process. The garbage collector's view of the pair leaves
    null pointers out.
    """
    try:
        headers: Headers = message.headers() or ()
    except (UnicodeDecodeError, SystemError):
        return UNREADABLE
    return headers if all(len(gc.get_referents(header)) == len(header) for header in headers) else UNREADABLE
