"""What is sent to Flink for one Python job: files, digests and the identity made of them. Pure, no I/O."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hopsworks_flink.exceptions import ConfigurationError

# Zip cannot say anything earlier; a fixed time makes equal content equal bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_SECRET_KEY = re.compile(
    r"passw|secret|token|credential|jaas|certificate|(api|ssl|private|store)[._-]?key|key[._-]?pem", re.I
)
_QUOTED = re.compile(r"""(?:password|secret|token)\s*=\s*(["'])(.+?)\1""", re.I)
# Shorter values ("true", "PEM") would cut words out of every message.
_MIN_SECRET = 6


@dataclass(frozen=True)
class Bundle:
    """A Python program with its data files, as it will lie beside itself in Flink.

    :param module: the program's importable name, e.g. ``feature_pipeline``.
    :param files: name in the bundle -> content; part of the deployment's identity.
    :param secret_files: as ``files``, but neither part of the identity nor ever shown.
    """

    module: str
    files: Mapping[str, bytes]
    secret_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not _MODULE.match(self.module):
            raise ConfigurationError(f"{self.module!r} is not the name of a Python module.")
        program = self.module.replace(".", "/") + ".py"
        if program not in self.files:
            raise ConfigurationError(
                f"The bundle has no file {program!r} for module {self.module!r}: {sorted(self.files)}."
            )
        for name in (*self.files, *self.secret_files):
            if "\\" in name or not name.isprintable() or {"", ".", ".."} & set(name.split("/")):
                raise ConfigurationError(f"File name {name!r} is not allowed in a bundle: give a relative path.")
        both = set(self.files) & set(self.secret_files)
        if both:
            raise ConfigurationError(f"In the bundle both as plain and as secret file: {sorted(both)}.")

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the module's name and all non-secret files; independent of their order."""
        return _digest({"module": self.module, "files": {name: _sha256(data) for name, data in self.files.items()}})

    def with_secret_files(self, secret_files: Mapping[str, bytes]) -> Bundle:
        """The same program with other secret files; the digest stays."""
        return replace(self, secret_files=dict(secret_files))

    def to_zip(self) -> bytes:
        """A zip archive whose bytes depend on nothing but names and contents."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in sorted({**self.files, **self.secret_files}.items()):
                info = zipfile.ZipInfo(name, _ZIP_EPOCH)
                info.compress_type = zipfile.ZIP_DEFLATED
                info.external_attr = 0o600 << 16
                archive.writestr(info, data)
        return buffer.getvalue()

    def secrets(self) -> list[str]:
        """The values in the secret files that must not appear in a log, longest first."""
        found: set[str] = set()
        for data in self.secret_files.values():
            text = data.decode("utf-8", errors="replace")
            try:
                _collect_secrets(json.loads(text), found)
            except ValueError:
                found.update(_variants(text))
        return sorted(found, key=len, reverse=True)


def deployment_hash(
    bundle: Bundle,
    *,
    arguments: Sequence[str] = (),
    parallelism: int,
    flink_configuration: Mapping[str, str],
    jar_digests: Mapping[str, str],
) -> str:
    """The identity of a deployment: 64 hex digits over everything that shapes the job, nothing secret or per run.

    :param jar_digests: file name -> SHA-256 of each jar that the job brings along.
    """
    return _digest(
        {
            "bundle": bundle.digest,
            "arguments": list(arguments),
            "parallelism": parallelism,
            "flink_configuration": dict(flink_configuration),
            "jars": dict(jar_digests),
        }
    )


def mask(text: str, secrets: Sequence[str]) -> str:
    """``text`` with every secret replaced by stars, longest first so that no rest of one stays."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "***")
    return _PEM_KEY.sub("***", text)


_PEM_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)


def secret_strings(value: Any) -> list[str]:
    """The texts below keys that sound secret, as they may turn up in a log; longest first."""
    found: set[str] = set()
    _collect_secrets(value, found)
    return sorted(found, key=len, reverse=True)


def _collect_secrets(value: Any, found: set[str], secret: bool = False) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _collect_secrets(item, found, secret or bool(_SECRET_KEY.search(str(key))))
    elif isinstance(value, list):
        for item in value:
            _collect_secrets(item, found, secret)
    elif isinstance(value, str) and secret:
        found.update(_variants(value))


def _variants(text: str) -> set[str]:
    """A secret as it may turn up: whole, line by line, JSON-escaped, or the password inside a JAAS line."""
    pieces = {text, text.strip(), json.dumps(text)[1:-1], *(match.group(2) for match in _QUOTED.finditer(text))}
    pieces.update(line.strip() for line in text.splitlines() if not line.startswith("-----"))
    return {piece for piece in pieces if len(piece) >= _MIN_SECRET}


def _digest(value: Any) -> str:
    return _sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
