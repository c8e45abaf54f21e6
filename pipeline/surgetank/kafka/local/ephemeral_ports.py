"""The ports that the kernel gives to outgoing connections: one of these may hold a broker's port when it restarts."""

from collections.abc import Sequence
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def ephemeral_ports(file: Path = RANGE) -> range:
    """Return the kernel's range of ports for outgoing connections; empty if the system does not report it."""
    try:
        first, last = file.read_text().split()
        return range(int(first), int(last) + 1)
    except (OSError, ValueError):
        return range(0)


def port_warning(ports: Sequence[int], ephemeral: range) -> str | None:
    """Return a warning if some of these ports of a cluster may be given to an outgoing connection. Pure."""
    taken = [port for port in ports if port in ephemeral]
    if not taken:
        return None
    return (
        f"warning: port {', '.join(map(str, taken))} is in the range {ephemeral.start} to {ephemeral.stop - 1}, from "
        "which the system chooses ports of outgoing connections: one of them may hold it when a broker restarts; "
        f"choose --port below {ephemeral.start - len(ports) + 1}"
    )
