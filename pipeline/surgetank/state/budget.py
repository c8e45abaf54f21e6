"""Divides a worker's memory for state among its tasks. Pure."""

from dataclasses import dataclass

from surgetank.errors import SettingsError

MIB = 1 << 20

_WRITE_BUFFER_MIN = 128 << 10  # a smaller buffer is flushed to too many small files
_WRITE_BUFFER_MAX = 8 * MIB  # a larger buffer slows inserts and searches, and more is restored after a crash
_ROWS_MIN = MIB  # per task
_CACHE_MIN = 4 * MIB
_FILES = 512  # for all tasks; a process may usually open 1,024
_FILES_MIN, _FILES_MAX = 16, 256  # per task


@dataclass(frozen=True, slots=True)
class Budget:
    """The memory and files of a worker and of each of its tasks. All sizes are bytes.

    ``block_cache`` is for the whole worker: blocks, indexes and filters of all files. Each task has at most two write
    buffers of ``write_buffer`` (one is filled while the other is flushed), ``rows`` for the rows cached in Python, and
    ``open_files`` open files.
    """

    block_cache: int
    write_buffer: int
    rows: int
    open_files: int


def share(memory_mib: int, tasks: int) -> Budget:
    """Divide ``memory_mib`` MiB among ``tasks`` tasks.

    Each part gets its minimum. Of the rest, three quarters go to the row caches, which save a search for each key that
    repeats, and an eighth each to write buffers and block cache; the surplus of the buffers goes to the block cache.
    Raises SettingsError, naming the required minimum, if the memory is too little.
    """
    if tasks < 1:
        raise ValueError(f"memory must be divided among 1 or more tasks, not {tasks}")
    needed = _CACHE_MIN + tasks * (2 * _WRITE_BUFFER_MIN + _ROWS_MIN)
    spare = memory_mib * MIB - needed
    if spare < 0:
        raise SettingsError(
            f"{memory_mib} MiB of state memory is too little for {tasks} tasks; set at least "
            f"{-(-needed // MIB)} MiB, or run more workers"
        )
    write_buffer = min(_WRITE_BUFFER_MIN + spare // 8 // tasks // 2, _WRITE_BUFFER_MAX)
    rows = _ROWS_MIN + spare * 3 // 4 // tasks
    return Budget(
        block_cache=memory_mib * MIB - tasks * (2 * write_buffer + rows),
        write_buffer=write_buffer,
        rows=rows,
        open_files=max(_FILES_MIN, min(_FILES // tasks, _FILES_MAX)),
    )


def share_in_steps(memory_mib: int, tasks: int) -> Budget:
    """Divide like ``share`` for the next number of ``steps``, if the memory suffices, so that it changes less often."""
    try:
        return share(memory_mib, steps(tasks))
    except SettingsError:
        return share(memory_mib, tasks)


def steps(tasks: int) -> int:
    """Return the least of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that is not below the number of tasks; at least 1."""
    power = 1 << (tasks - 1).bit_length()
    between = power * 3 // 4
    return between if between >= tasks and power >= 4 else power
