"""tests/install-programs.sh: what `make test` does where Prometheus and Alertmanager are missing."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "install-programs.sh"
PROGRAMS = ("prometheus", "promtool", "amtool", "prometheus-alertmanager")
INSTALL = "env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends"


class Machine:
    """A folder of programs that is the whole PATH; those that would change a machine write their call to a file."""

    def __init__(self, folder: Path, user: int, *programs: str) -> None:
        self.folder, self.calls = folder / "bin", folder / "calls"
        self.folder.mkdir()
        self.calls.touch()
        (self.folder / "sh").symlink_to(shutil.which("sh") or "/bin/sh")
        self.has("id", f"echo {user}")
        for name in programs:
            self.has(name)
        self.has("env", f'echo "env $*" >> {self.calls}')

    def has(self, name: str, script: str = "") -> None:
        """Add a program."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script or f'echo {name} $* >> {self.calls}'}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def run(self) -> tuple[int, str, list[str]]:
        """Run the script; return its status, what it printed, and the calls."""
        ended = subprocess.run(
            [self.folder / "sh", SCRIPT], env={"PATH": str(self.folder)}, capture_output=True, text=True, check=False
        )
        return ended.returncode, ended.stdout + ended.stderr, self.calls.read_text().splitlines()


def test_nothing_is_installed_where_all_programs_are_there(tmp_path: Path) -> None:
    """Neither apt-get nor sudo is called; nothing is printed."""
    assert Machine(tmp_path, 1000, *PROGRAMS, "apt-get", "sudo").run() == (0, "", [])


def test_prometheus_is_missing_for_the_tests(tmp_path: Path) -> None:
    """Root installs both packages."""
    status, printed, calls = Machine(tmp_path, 0, "apt-get").run()
    assert (status, printed) == (0, "installing Debian's packages (once): prometheus prometheus-alertmanager\n")
    assert calls == ["apt-get update -qq", f"{INSTALL} prometheus prometheus-alertmanager"]


def test_only_the_missing_package_is_installed(tmp_path: Path) -> None:
    """A user with sudo without a password, who lacks Alertmanager; sudo is never asked for a password."""
    status, _, calls = Machine(tmp_path, 1000, "prometheus", "promtool", "apt-get", "sudo").run()
    assert status == 0
    assert calls == ["sudo -n true", "sudo -n apt-get update -qq", f"sudo -n {INSTALL} prometheus-alertmanager"]


@pytest.mark.parametrize("sudo", [None, "exit 1"])
def test_a_user_who_may_not_install_is_told_the_command(tmp_path: Path, sudo: str | None) -> None:
    """One line and status 2: without sudo, or with one that asks for a password."""
    machine = Machine(tmp_path, 1000, "apt-get")
    if sudo:
        machine.has("sudo", sudo)
    status, printed, calls = machine.run()
    assert (status, calls) == (2, [])
    command = "apt-get update; apt-get install --no-install-recommends prometheus prometheus-alertmanager"
    assert printed == f"the tests need Prometheus and Alertmanager: run as root: {command}\n"


def test_a_failing_apt_get_ends_with_the_command(tmp_path: Path) -> None:
    """Status 2 and the command to run by hand."""
    machine = Machine(tmp_path, 0, "apt-get")
    machine.has("env", "echo E: no space >&2; exit 100")
    status, printed, _ = machine.run()
    assert status == 2
    assert "E: no space\nthe tests need Prometheus and Alertmanager: apt-get failed; correct that" in printed


def test_a_machine_without_apt_get_is_told_which_programs(tmp_path: Path) -> None:
    """And the tests that run without them."""
    status, printed, _ = Machine(tmp_path, 1000).run()
    assert status == 2
    assert "with prometheus, promtool, alertmanager and amtool on PATH, or run only: make unit\n" in printed
