from __future__ import annotations

import io
import json
import zipfile

import pytest

from hopsworks_flink.clients.flink.bundle import Bundle, deployment_hash
from hopsworks_flink.clients.masking import mask, secret_strings
from hopsworks_flink.exceptions import ConfigurationError

FILES = {"job.py": b"print()", "plan.json": b"{}"}
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSj\n-----END PRIVATE KEY-----\n"


def test_zip_is_the_same_whatever_the_order() -> None:
    one = Bundle("job", FILES, {"bindings.json": b"s"})
    other = Bundle("job", dict(reversed(FILES.items())), {"bindings.json": b"s"})
    assert one.to_zip() == other.to_zip()
    with zipfile.ZipFile(io.BytesIO(one.to_zip())) as archive:
        assert sorted(archive.namelist()) == ["bindings.json", "job.py", "plan.json"]
        assert archive.read("bindings.json") == b"s"


def test_digest_ignores_secrets_only() -> None:
    bundle = Bundle("job", FILES)
    assert bundle.with_secret_files({"s": b"1"}).digest == bundle.digest
    assert Bundle("job", {**FILES, "plan.json": b"[]"}).digest != bundle.digest
    assert Bundle("plan", {**FILES, "plan.py": b""}).digest != bundle.digest


@pytest.mark.parametrize(
    ("module", "files", "secret_files", "text"),
    [
        ("no such", FILES, {}, "not the name of a Python module"),
        ("other", FILES, {}, "no file 'other.py'"),
        ("job", {**FILES, "../x": b""}, {}, "relative path"),
        ("job", FILES, {"/etc/passwd": b""}, "relative path"),
        ("job", FILES, {"plan.json": b""}, "both"),
    ],
)
def test_refused(module: str, files: dict[str, bytes], secret_files: dict[str, bytes], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        Bundle(module, files, secret_files)


def test_repr_hides_secret_files() -> None:
    assert "hunter22" not in repr(Bundle("job", FILES, {"s": b"hunter22"}))


def test_deployment_hash_covers_what_shapes_the_job() -> None:
    def digest(**changed: object) -> str:
        arguments = {
            "arguments": ["--a"],
            "parallelism": 1,
            "flink_configuration": {"a": "1", "b": "2"},
            "jar_digests": {"kafka.jar": "12"},
            **changed,
        }
        return deployment_hash(Bundle("job", FILES), **arguments)  # type: ignore[arg-type]

    base = digest()
    assert len(base) == 64
    assert digest(flink_configuration={"b": "2", "a": "1"}) == base
    changed = [
        digest(arguments=["--b"]),
        digest(parallelism=2),
        digest(flink_configuration={"a": "2"}),
        digest(jar_digests={"kafka.jar": "13"}),
    ]
    assert base not in changed
    assert len(set(changed)) == 4


def test_secrets_are_found_in_json() -> None:
    jaas = 'org.X required username="user-name" password="hunter22-jaas";'
    bindings = {
        "values": {"bootstrap.servers": "broker:9092", "sasl.jaas.config": jaas},
        "secrets": ["top-secret-value"],
        "ssl.keystore.key": KEY,
    }
    secrets = Bundle("job", FILES, {"bindings.json": json.dumps(bindings).encode()}).secrets()
    for text in (jaas, "top-secret-value", KEY, json.dumps(KEY), "hunter22-jaas", "MIIEvQIBADANBgkqhkiG9w0"):
        masked = mask(f"failed with {text} at broker:9092", secrets)
        assert "hunter22" not in masked
        assert "MIIE" not in masked
        assert "top-secret" not in masked
        assert "broker:9092" in masked


def test_a_number_is_a_secret_where_its_name_says_so() -> None:
    settings = {"sasl.password": 12345678, "ssl.key.passphrase": "open-sesame", "token.refresh.ms": 600000}
    assert set(secret_strings(settings)) == {"12345678", "open-sesame"}


def test_private_keys_are_cut_even_when_unknown() -> None:
    assert "BAQEF" not in mask(f"option {KEY} here", [])
    assert "BAQEF" not in mask(f"option {KEY[:60]}BAQEF", [])


def test_secrets_of_plain_files() -> None:
    assert "hunter22" in Bundle("job", FILES, {"token": b"hunter22\n"}).secrets()
