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

from hopsworks_flink.clients.masking import secret_strings, spellings
from hopsworks_flink.exceptions import ConfigurationError

# Zip cannot say anything earlier; a fixed time makes equal content equal bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")


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
                found.update(secret_strings(json.loads(text)))
            except ValueError:
                found.update(spellings(text))
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


def _digest(value: Any) -> str:
    return _sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
