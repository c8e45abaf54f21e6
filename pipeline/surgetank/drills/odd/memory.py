"""The resident size of a worker, and the bound that docs/operating.md states for it."""

from pathlib import Path

import psutil

from surgetank.settings import Settings

_KIB, _MIB = 1 << 10, 1 << 20
PROCESS_BYTES = 512 * _MIB  # the interpreter, its libraries, compiled code, a small model, and the clients
OUTPUT_BYTES = 256 * _MIB  # the queue of the transactional producer
READ_BYTES = 16 * _MIB  # one read of the fetcher
BATCH_COPIES = 6  # a batch as records, columns, features, dead letters and outputs, while the next one is taken


def resident_bound(settings: Settings, *, keeps_state: bool, record_bytes_max: int) -> int:
    """Return the bytes that a worker with these settings stays below.

    ``record_bytes_max`` is the size of the largest record, uncompressed: it may be a batch by itself.
    """
    worker = settings.worker
    fetch = worker.fetch_buffer_kilobytes * _KIB
    batch = max(worker.batch_kilobytes_max * _KIB, record_bytes_max)
    queues = 2 * worker.buffered_kilobytes_max * _KIB + fetch + max(READ_BYTES, fetch)
    state = settings.state.memory_mib * _MIB if keeps_state else 0
    return PROCESS_BYTES + OUTPUT_BYTES + queues + BATCH_COPIES * batch + state


def resident_peak(pid: int, proc: Path = Path("/proc")) -> int:
    """Return the largest resident size of a process so far, in bytes; where the system does not tell, the present one.

    0 if the process has ended. ``proc`` is where Linux shows processes.
    """
    try:
        status = (proc / str(pid) / "status").read_text()
    except OSError:
        status = ""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _KIB
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
