"""The memory for state of one worker, shared out among its tasks. Pure."""

from dataclasses import dataclass

from pipeline.errors import SettingsError

MIB = 1 << 20

_WRITE_BUFFER_MIN = 128 << 10  # below it a task writes more small files than data
_WRITE_BUFFER_MAX = 8 * MIB  # above it inserting and searching get slower, and a crash costs more to make good
_ROWS_MIN = MIB  # of one task
_CACHE_MIN = 4 * MIB
_FILES = 512  # of the 1,024 that a process usually may open, for all tasks
_FILES_MIN, _FILES_MAX = 16, 256  # for one task


@dataclass(frozen=True, slots=True)
class Budget:
    """What a worker and each of its tasks may use. All sizes are bytes.

    ``block_cache`` is for the whole worker: blocks, indices and filters of all files. A task has at most two
    write buffers of ``write_buffer`` (one is filled while the other is written out) and ``rows`` for the rows that
    Python holds. ``open_files`` is a number of files for each task.
    """

    block_cache: int
    write_buffer: int
    rows: int
    open_files: int


def share(memory_mib: int, tasks: int) -> Budget:
    """Share ``memory_mib`` out among ``tasks`` tasks.

    Each part gets the least that it needs. Of the rest, three quarters go to the rows, which save a search each time
    that their key comes again, and an eighth each to write buffers and block cache; what the buffers cannot use goes
    to the cache. Raises SettingsError, with the least that would do, if that is too little.
    """
    if tasks < 1:
        raise ValueError(f"memory is shared among at least one task, not {tasks}")
    needed = _CACHE_MIN + tasks * (2 * _WRITE_BUFFER_MIN + _ROWS_MIN)
    spare = memory_mib * MIB - needed
    if spare < 0:
        raise SettingsError(
            f"{memory_mib} MiB of memory for state are too little for {tasks} tasks; give at least "
            f"{-(-needed // MIB)} MiB, or spread the tasks over more workers"
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
    """Share as ``share`` does, as if there were some tasks more, if that can be: it changes with few of them only."""
    try:
        return share(memory_mib, steps(tasks))
    except SettingsError:
        return share(memory_mib, tasks)


def steps(tasks: int) -> int:
    """Return the least of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that is not below the number of tasks, at least one."""
    power = 1 << (tasks - 1).bit_length()
    between = power * 3 // 4
    return between if between >= tasks and power >= 4 else power
