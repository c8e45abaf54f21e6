"""The environment of Quix Streams: .venv-quix beside .venv, installed once from its locked requirements."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ops.bench.job import ROOT
from surgetank.errors import StartupError

HOME = ROOT / ".venv-quix"
REQUIREMENTS = Path(__file__).with_name("requirements-quix.txt")


def python(say: Callable[[str], None]) -> Path:
    """Return the path of its Python; install the requirements if they are missing. Raises StartupError on failure."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp, found = HOME / "installed", HOME / "bin" / "python"
    if found.exists() and stamp.exists() and stamp.read_text() == wanted:
        return found
    say("installing Quix Streams into .venv-quix (once; half a minute)")
    _run(sys.executable, "-m", "venv", "--clear", str(HOME))
    pip = [str(found), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(*pip, "--require-hashes", "-r", str(REQUIREMENTS))
    stamp.write_text(wanted)
    return found


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StartupError(f"{' '.join(command[:4])} failed:\n{done.stderr.strip()[-2000:]}")
