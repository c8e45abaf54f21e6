"""The settings of the HTTP endpoints."""

import re
from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from surgetank.errors import SettingsError
from surgetank.settings.secret_options import secret_of_file
from surgetank.settings.section import Section


class HttpSettings(Section):
    """Who may use the HTTP endpoints: token and TLS, for the servers and for the commands and workers that ask them."""

    token: SecretStr | None = Field(
        default=None,
        description="bearer token that every request must carry; without it /live and /ready answer their status only",
    )
    token_file: Path | None = Field(default=None, description="file of the token, instead of token")
    cert_file: Path | None = Field(
        default=None,
        description="certificate (PEM, with its intermediate ones) of a server, which serves TLS then; also that of "
        "commands and workers as clients",
    )
    key_file: Path | None = Field(default=None, description="private key of cert_file (PEM, not encrypted)")
    client_ca_file: Path | None = Field(
        default=None,
        description="certificates (PEM) of authorities: every request needs a certificate of a client that one of them "
        "issued; without it /live and /ready answer their status only",
    )
    ca_file: Path | None = Field(
        default=None,
        description="certificates (PEM) of the authorities of the servers that are asked; default: those of the system",
    )

    @model_validator(mode="after")
    def _belong_together(self) -> "HttpSettings":
        if self.token is not None and self.token_file is not None:
            raise ValueError("http.token and http.token_file are both set; remove one of them")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("http.key_file without a certificate: set http.cert_file")
        if self.cert_file is not None and self.key_file is None:
            raise ValueError("http.cert_file without its key: set http.key_file")
        if self.client_ca_file is not None and self.cert_file is None:
            raise ValueError("http.client_ca_file has no effect without TLS: set http.cert_file and http.key_file")
        return self

    def bearer_token(self) -> str | None:
        """Return the token, None if none is set. Its file is read anew with each call.

        Raises SettingsError if the file cannot be read, or if the token is not one word of visible ASCII characters.
        """
        if self.token_file is not None:
            name, token = "http.token_file", secret_of_file("http.token_file", str(self.token_file))
        elif self.token is not None:
            name, token = "http.token", self.token.get_secret_value()
        else:
            return None
        if not re.fullmatch(r"[!-~]+", token):
            raise SettingsError(f"{name}: a token is one word of visible ASCII characters")
        return token
