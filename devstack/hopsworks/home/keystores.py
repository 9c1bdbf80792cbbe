"""Java key stores, made by the JDK's ``keytool`` out of PEM certificates."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from devstack.config import DevstackError
from devstack.jars import java

AUTHORITY_ALIAS = "hops_root_ca"
_PASSWORD_VARIABLE = "DEVSTACK_STORE_PASSWORD"  # noqa: S105 (its name, not its value)
_TIMEOUT_SECONDS = 60


# Each takes a second of two processes, and is asked for at every login.
@lru_cache(maxsize=4)
def java_key_stores(alias: str, client_pem: bytes, key_pem: bytes, ca_pem: bytes, password: str) -> tuple[bytes, bytes]:
    """Key store with the client's key and certificate, and trust store with the authority's, both of type JKS.

    :param alias: of the client's entry.
    :param password: of both stores, and of the key.
    :raises DevstackError: when there is no JDK, or ``keytool`` fails.
    """
    client, ca = (x509.load_pem_x509_certificate(pem) for pem in (client_pem, ca_pem))
    key = serialization.load_pem_private_key(key_pem, password=None)
    encryption = serialization.BestAvailableEncryption(password.encode())
    # Private: only its owner can enter such a folder.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, authority = folder / "client.p12", folder / "ca.pem"
        source.write_bytes(
            pkcs12.serialize_key_and_certificates(alias.encode(), key, client, [ca], encryption)  # type: ignore[arg-type]
        )
        authority.write_bytes(ca_pem)
        key_store, trust_store = folder / "key.jks", folder / "trust.jks"
        from_pkcs12 = ["-srckeystore", str(source), "-srcstoretype", "PKCS12", "-srcstorepass:env", _PASSWORD_VARIABLE]
        to_jks = ["-destkeystore", str(key_store), "-deststoretype", "JKS", "-deststorepass:env", _PASSWORD_VARIABLE]
        _keytool(password, "-importkeystore", *from_pkcs12, *to_jks)
        trusted = ["-alias", AUTHORITY_ALIAS, "-file", str(authority)]
        into = ["-keystore", str(trust_store), "-storetype", "JKS", "-storepass:env", _PASSWORD_VARIABLE]
        _keytool(password, "-importcert", *trusted, *into)
        return key_store.read_bytes(), trust_store.read_bytes()


def _keytool(password: str, *arguments: str) -> None:
    options = ["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-J-Duser.language=en", "-noprompt"]
    done = subprocess.run(
        [java("keytool"), *arguments, *options],
        # The password is neither among the arguments nor in a file.
        env={**os.environ, _PASSWORD_VARIABLE: password},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise DevstackError(f"keytool {arguments[0]} failed: {(done.stdout + done.stderr).strip()[-1000:]}")
