"""Makes a certificate authority and certificates with the keytool of the Java that runs Kafka.

The main class of keytool is in every Java runtime, so neither openssl nor a JDK is needed. Stores have the format
PKCS#12, which Kafka and librdkafka (``ssl.keystore.location``) read.
"""

import os
import shutil
import subprocess
from pathlib import Path

from surgetank.errors import StartupError
from surgetank.kafka.local.jars import last_lines
from surgetank.kafka.local.java_runtime import Java

_KEYTOOL = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-m", "java.base/sun.security.tools.keytool.Main")
_PASSWORD = "STORE_PASSWORD"  # the variable that gives it to keytool
_NAMES = "SAN=ip:127.0.0.1,dns:localhost"


class CertificateAuthority:
    """An authority in a folder: ``ca.p12``, and its certificate ``ca.pem``. Raises StartupError if keytool fails.

    ``password`` protects the authority's store and those of the certificates.
    """

    def __init__(self, java: Java, folder: Path, password: str) -> None:
        self.certificate = folder / "ca.pem"
        self._java = java
        self._folder = folder
        self._store = folder / "ca.p12"
        self._password = password

    def make(self) -> None:
        """Make the authority, valid for ten years."""
        authority = ("-ext", "bc:critical=ca:true", "-ext", "ku:critical=keyCertSign,cRLSign")
        self._generate("ca", self._store, "-1d", 3650, authority)
        self._keytool("-exportcert", "-rfc", "-alias", "ca", "-keystore", str(self._store), "-file", "ca.pem")

    def issue(self, name: str, *, start: str = "-1d", days: int = 3650) -> Path:
        """Make a key and its certificate for this machine's loopback addresses; return their store, ``name``.p12.

        The certificate's subject is CN=``name``. It is valid for ``days`` from ``start``, relative to now, as -9d.
        """
        made, scratch = self._folder / f"{name}.p12", self._folder / f"{name}-with-ca.p12"
        try:
            shutil.copy(self._store, scratch)
            self._generate(name, scratch, start, days, ("-signer", "ca", "-ext", _NAMES))
            source = ("-srckeystore", str(scratch), "-srcalias", name, "-srcstorepass:env", _PASSWORD)
            target = ("-destkeystore", str(made), "-deststoretype", "PKCS12", "-deststorepass:env", _PASSWORD)
            self._keytool("-importkeystore", "-noprompt", *source, *target, with_store=False)
        finally:
            scratch.unlink(missing_ok=True)
        return made

    def _generate(self, name: str, store: Path, start: str, days: int, more: tuple[str, ...]) -> None:
        subject = ("-alias", name, "-dname", f"CN={name}", "-startdate", start, "-validity", str(days))
        kind = ("-keyalg", "EC", "-groupname", "secp256r1", "-keystore", str(store), "-storetype", "PKCS12")
        self._keytool("-genkeypair", *subject, *kind, *more)

    def _keytool(self, *arguments: str, with_store: bool = True) -> None:
        password = ("-storepass:env", _PASSWORD) if with_store else ()
        done = subprocess.run(
            [self._java.path, *_KEYTOOL, *arguments, *password],
            cwd=self._folder,
            env=os.environ | {_PASSWORD: self._password},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            lines = last_lines(done.stdout + done.stderr, 4)
            raise StartupError(f"certificates cannot be made with {self._java.path}:\n{lines}")
