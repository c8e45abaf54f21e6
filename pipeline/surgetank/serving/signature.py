"""Signatures of bundles with a pair of elliptic-curve keys, in the format of the package model-signing.

The signature is the file ``model.sig`` of the bundle, a Sigstore bundle of an in-toto statement that lists the SHA-256
of each other file, the manifest too. ``model_signing verify key DIR --signature DIR/model.sig`` verifies it as well.
"""

import importlib.util
from pathlib import Path

from surgetank.errors import ModelError, SettingsError
from surgetank.serving.bundle_files import SIGNATURE


def sign(folder: Path, private_key: Path) -> None:
    """Write the signature of all files of a folder. ``private_key``: PEM without a password, P-256, P-384 or P-521.

    Raises SettingsError if the key cannot be used, or model-signing is not installed.
    """
    _check_installed("--sign-key")
    from model_signing import hashing, signing  # a second of imports, for few users

    folder = folder.resolve()  # model-signing does not find relative paths that it should ignore
    signature = folder / SIGNATURE
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"the private key {private_key} cannot be used: {_reason(error)}; it is a PEM file without a password, as "
            "`openssl ecparam -name prime256v1 -genkey -noout` writes it"
        ) from None
    signature.unlink(missing_ok=True)
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False))
    config.sign(folder, signature)


def verify_signature(folder: Path, public_key: Path) -> None:
    """Raise ModelError unless the folder has a signature of the key, and all its files are those that were signed.

    ``public_key``: PEM. Raises SettingsError if the key cannot be used, or model-signing is not installed.
    """
    _check_installed("model.verify_key_file")
    signature = folder / SIGNATURE
    if not signature.is_file():
        raise ModelError(
            f"model bundle {folder} is not signed, and model.verify_key_file is set: sign it (surgetank models build "
            "--sign-key), or serve a signed version"
        )
    from model_signing import hashing, verifying

    try:
        config = verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"model.verify_key_file: the public key {public_key} cannot be used: {_reason(error)}"
        ) from None
    config.set_hashing_config(hashing.Config().set_ignored_paths(paths=[signature.resolve()], ignore_git_paths=False))
    try:
        config.verify(folder.resolve(), signature.resolve())
    except Exception as error:  # noqa: BLE001 - the signature is foreign data: any error refuses it
        raise ModelError(
            f"model bundle {folder}: the signature does not verify with {public_key}: {_reason(error)}; the bundle was "
            "changed or signed with another key: do not use it"
        ) from None


def _check_installed(user: str) -> None:
    # model-signing 1.1 imports pyOpenSSL without declaring it.
    if importlib.util.find_spec("model_signing") is None or importlib.util.find_spec("OpenSSL") is None:
        raise SettingsError(f"{user} needs the package model-signing: pip install 'surgetank[signing]'")


def _reason(error: Exception) -> str:
    """Return the text of an error, or its name: a wrong signature has no text."""
    return (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
