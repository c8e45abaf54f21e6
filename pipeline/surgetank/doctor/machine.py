"""Judges this machine: Python, Java, Kafka's jars, ports, disk, clock. Pure."""

from surgetank.doctor.finding import CheckFinding, ok, problem, skipped, warning

PYTHON_MIN, PYTHON_TESTED_MAX = (3, 11), (3, 13)
DISK_BYTES_MIN, DISK_BYTES_LOW = 2**30, 5 * 2**30
CLOCK_SECONDS_MAX = 10.0  # a worker corrects more than that, and says so


def python(version: tuple[int, int]) -> CheckFinding:
    """Judge the version of Python, major and minor."""
    text = f"Python {version[0]}.{version[1]}"
    if version < PYTHON_MIN:
        return problem("python", text, "install Python 3.11 or later, and the package again with it")
    if version > PYTHON_TESTED_MAX:
        return warning("python", f"{text} is newer than what is tested", "if something fails, use Python 3.13")
    return ok("python", text)


def java(version: str | None, error: str) -> CheckFinding:
    """Judge the Java of this machine: its version, or why there is none that fits."""
    if version is None:
        return warning("java", error, "needed only to run Kafka on this machine (surgetank kafka up, surgetank dev)")
    return ok("java", f"Java {version}")


def kafka_jars(repository: str, error: str = "") -> CheckFinding:
    """Judge where Kafka's jars come from: a Maven repository, nothing if they are here, or why there is none."""
    if error:
        return warning("jars", error, "needed only to run Kafka on this machine (surgetank kafka up, surgetank dev)")
    if repository:
        return ok("jars", f"Kafka's jars are downloaded from {repository} when it first starts on this machine")
    return ok("jars", "Kafka's jars are on this machine")


def port(host: str, number: int, error: str | None) -> CheckFinding:
    """Judge the port of a worker's endpoints; ``error``: why it cannot be bound."""
    if number == 0:
        return ok("port", "telemetry.port is 0: a worker takes any free port")
    if error is not None:
        return warning(
            "port",
            f"{host}:{number} cannot be bound: {error}",
            "stop the worker that has it, or set telemetry.host and telemetry.port (0: any free port)",
        )
    return ok("port", f"{host}:{number} is free")


def disk(folder: str, free: int, *, writable: bool) -> CheckFinding:
    """Judge the folder of local state: its free bytes, and whether this user may write there."""
    if not writable:
        return problem(
            "disk", f"{folder} cannot be written", "set state.directory to a folder that this user may write"
        )
    text = f"{free / 2**30:,.1f} GiB free for {folder}"
    advice = "free some space, or set state.directory to a folder on another disk"
    if free < DISK_BYTES_MIN:
        return problem("disk", text, advice)
    return warning("disk", text, advice) if free < DISK_BYTES_LOW else ok("disk", text)


def clock(difference: float | None) -> CheckFinding:
    """Judge the clock: seconds by which it is ahead of the brokers' (negative: behind); None if unknown."""
    if difference is None:
        return skipped("clock", "unknown: brokers tell their time only for a record of a pipeline's timeline")
    if abs(difference) <= CLOCK_SECONDS_MAX:
        return ok("clock", "this clock and that of the brokers agree")
    side = "ahead of" if difference > 0 else "behind"
    return warning(
        "clock",
        f"this clock is {abs(difference):,.0f} s {side} that of the brokers",
        "synchronize the clocks (chrony, ntpd, systemd-timesyncd), here and on the brokers",
    )


def clock_difference(sent: float, appended: float, received: float) -> float:
    """Return the least seconds by which this clock is ahead of a broker's; negative: behind; 0: they may agree.

    A record was ``sent`` and its report ``received`` by this clock, and ``appended`` by that of the broker; all in
    seconds since the epoch.
    """
    return sent - appended if appended < sent else min(0.0, received - appended)
