"""Reads the headers of a message of confluent-kafka, which cannot represent a header whose name is not UTF-8."""

import gc
from operator import methodcaller

from confluent_kafka import Message

from surgetank.records import Headers

# The headers of a record of which one has a name that is not UTF-8: one header with such a name.
UNREADABLE: Headers = (("\udcff", None),)

# An ordinary call of the method, which CPython specializes after some calls, does not check for an exception beside
# a result: it would be raised by the next call of anything.
_checked_headers = methodcaller("headers")


def headers_of(message: Message) -> Headers:
    """Return the headers of a message; ``UNREADABLE`` for all of them if a name is not UTF-8.

    The client's first response for such a message is a list beside an exception, which the interpreter turns into a
    SystemError. The second is the list alone: its pair of name and value has a null pointer in place of the name, and
    any access to it would end the process. The garbage collector's view of the pair leaves null pointers out.
    """
    try:
        headers: Headers = _checked_headers(message) or ()
    except (UnicodeDecodeError, SystemError):
        return UNREADABLE
    return headers if all(len(gc.get_referents(header)) == len(header) for header in headers) else UNREADABLE
