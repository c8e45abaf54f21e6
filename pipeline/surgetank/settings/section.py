"""What sections of the settings are made of: their base, and the units of their values."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of a setting, as metadata of its type."""

    name: str


Seconds = Annotated[float, Unit("seconds")]
Hours = Annotated[float, Unit("hours")]
Days = Annotated[float, Unit("days")]
Share = Annotated[float, Unit("share")]
Rows = Annotated[int, Unit("rows")]
Events = Annotated[int, Unit("events")]
Records = Annotated[int, Unit("records")]
Partitions = Annotated[int, Unit("partitions")]
Threads = Annotated[int, Unit("threads")]
Bytes = Annotated[int, Unit("bytes")]
Kilobytes = Annotated[int, Unit("kilobytes")]
Mebibytes = Annotated[int, Unit("MiB")]


class Section(BaseModel):
    """Base of every section: frozen, and strict about names. Errors do not repeat what was given: it may be secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
