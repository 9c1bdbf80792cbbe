"""Java key stores: what Java finds in them, and what of them is seen while they are made."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from devstack.config import DevstackError
from devstack.hopsworks.home.certificates import write_certificates
from devstack.hopsworks.home.keystores import AUTHORITY_ALIAS, java_key_stores
from devstack.hopsworks.home.setup import load_credentials
from tests.devstack.hopsworks.samples import opened

FILES = ("client.pem", "client.key", "ca.pem")


def test_java_finds_the_key_with_its_chain_and_the_authority(config):
    material = load_credentials(config)
    client, key, ca = ((config.certificates / name).read_bytes() for name in FILES)
    store = opened(base64.b64decode(material.key_store), material.password)
    assert store.cert.friendly_name == b"demo"
    assert store.cert.certificate == x509.load_pem_x509_certificate(client)
    assert [one.certificate for one in store.additional_certs] == [x509.load_pem_x509_certificate(ca)]
    private = serialization.load_pem_private_key(key, None)
    assert store.key.private_numbers() == private.private_numbers()
    (trusted,) = opened(base64.b64decode(material.trust_store), material.password).additional_certs
    assert trusted.friendly_name == AUTHORITY_ALIAS.encode()
    assert trusted.certificate == x509.load_pem_x509_certificate(ca)


@pytest.fixture
def jdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A JDK whose keytool writes down its arguments and fails."""
    keytool = tmp_path / "jdk" / "bin" / "keytool"
    keytool.parent.mkdir(parents=True)
    keytool.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/arguments"\necho "no such type: JKS"\nexit 1\n')
    keytool.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "jdk"))
    return keytool


def make(folder: Path, password: str) -> None:
    write_certificates(folder, "demo", ["localhost"], ["localhost"])
    client, key, ca = ((folder / name).read_bytes() for name in FILES)
    java_key_stores("demo", client, key, ca, password)


def test_no_password_among_the_arguments_and_a_failure_says_what_keytool_said(tmp_path, jdk):
    with pytest.raises(DevstackError, match="keytool -importkeystore failed: no such type: JKS"):
        make(tmp_path, "geheim-und-lang")
    assert "geheim" not in (tmp_path / "arguments").read_text()


def test_without_a_jdk(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevstackError, match="No keytool found: install a JDK 17"):
        make(tmp_path, "secret")
