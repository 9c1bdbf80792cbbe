"""The stack's certificate authority, and what it signs: the server's, the broker's and the client's certificate."""

from __future__ import annotations

import datetime
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALIDITY = datetime.timedelta(days=3650)
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Authority:
    """A certificate authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def write_certificates(folder: Path, user: str, server_names: list[str], broker_names: list[str]) -> None:
    """A new authority with all that it signs. The names are host names and addresses."""
    authority = _new_authority()
    server_key, broker_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    server = _leaf("localhost", server_key, authority, ExtendedKeyUsageOID.SERVER_AUTH, server_names)
    broker = _leaf("broker", broker_key, authority, ExtendedKeyUsageOID.SERVER_AUTH, broker_names)
    write_private(folder / "ca.pem", _pem(authority.certificate))
    (folder / "ca.pem").chmod(0o644)
    write_private(folder / "ca.key", _key_pem(authority.key))
    write_private(folder / "server.pem", _pem(server) + _pem(authority.certificate))
    write_private(folder / "server.key", _key_pem(server_key))
    # One file, as Kafka wants a PEM key store.
    write_private(folder / "broker.pem", _key_pem(broker_key) + _pem(broker) + _pem(authority.certificate))
    _write_client(folder, user, authority)


def renew_client(folder: Path, user: str) -> None:
    """A new key and certificate for the client, signed by the same authority, as the platform does once a year."""
    certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    _write_client(folder, user, Authority(certificate, key))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, from the first byte on, and never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    temporary.replace(path)


def _write_client(folder: Path, user: str, authority: Authority) -> None:
    # RSA for the client: the SDK's Kafka path turns this key into a Java key store, where RSA works everywhere.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    client = _leaf(user, key, authority, ExtendedKeyUsageOID.CLIENT_AUTH, [])
    write_private(folder / "client.pem", _pem(client))
    write_private(folder / "client.key", _key_pem(key))


def _new_authority() -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Local Hopsworks CA")
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def _names(hosts: list[str]) -> list[x509.GeneralName]:
    """The hosts as names of a certificate, addresses as addresses."""
    names: list[x509.GeneralName] = []
    for host in dict.fromkeys(hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "devstack"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: PrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _leaf(
    common_name: str, key: PrivateKey, authority: Authority, usage: x509.ObjectIdentifier, names: list[str]
) -> x509.Certificate:
    issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    builder = (
        _builder(_name(common_name), authority.certificate.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(issuer_key, critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(_names(names)), critical=False)
    return builder.sign(authority.key, hashes.SHA256())


def _key_usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not ca,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: PrivateKey) -> bytes:
    # PKCS#8 is what every client reads: requests, Arrow Flight, Java.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
