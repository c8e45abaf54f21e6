"""Gives the configurations of Prometheus and Alertmanager the token and the TLS of the HTTP endpoints.

The files of token and certificates are on the machine of Prometheus or Alertmanager, not on that of the workers: they
lie beside the configuration, under fixed names. None of them is written here.
"""

import re
from collections.abc import Iterable

from surgetank.settings import HttpSettings

TOKEN, AUTHORITY, CERTIFICATE, KEY = "token", "ca.pem", "client.pem", "client.key"
SECURED = ("prometheus/prometheus.yml", "alertmanager/alertmanager.yml")


def needed_files(http: HttpSettings) -> dict[str, str]:
    """Return the files that a configuration names, and what each must hold. Pure."""
    files = {}
    if http.token is not None or http.token_file is not None:
        files[TOKEN] = "the token (http.token)"
    if http.cert_file is not None:
        files[AUTHORITY] = "the authorities of the servers' certificates (http.ca_file)"
    if http.client_ca_file is not None:
        files[CERTIFICATE] = "a certificate that an authority of http.client_ca_file issued"
        files[KEY] = "its key"
    return files


def with_access(name: str, text: str, http: HttpSettings) -> str:
    """Return one of the configurations SECURED with token and TLS, unchanged if the settings have neither. Pure."""
    files = needed_files(http)
    if not files:
        return text
    if name == "prometheus/prometheus.yml":
        scheme = ["scheme: https"] if http.cert_file is not None else []
        return re.sub(
            r"^( *)- job_name: surgetank-.*$",
            lambda job: "\n".join([job[0], *_indented([*scheme, *_access(files)], len(job[1]) + 2)]),
            text,
            flags=re.MULTILINE,
        )
    if http.cert_file is not None:
        text = re.sub(r"url: http://(\S+/alerts)$", r"url: https://\1", text, flags=re.MULTILINE)
    return re.sub(
        r"^( *)url: \S+/alerts$",
        lambda hook: "\n".join([hook[0], *_indented(["http_config:", *_indented(_access(files), 2)], len(hook[1]))]),
        text,
        flags=re.MULTILINE,
    )


def _access(files: Iterable[str]) -> list[str]:
    """Return the lines of an HTTP client's configuration in YAML."""
    lines = []
    if TOKEN in files:
        lines += ["authorization:", f"  credentials_file: {TOKEN}"]
    tls = {"ca_file": AUTHORITY, "cert_file": CERTIFICATE, "key_file": KEY}
    if named := [f"  {option}: {file}" for option, file in tls.items() if file in files]:
        lines += ["tls_config:", *named]
    return lines


def _indented(lines: Iterable[str], spaces: int) -> list[str]:
    return [" " * spaces + line for line in lines]
