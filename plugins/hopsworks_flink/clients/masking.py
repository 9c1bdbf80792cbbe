"""Which values are secret, and how they stay out of logs and errors. Pure, but for :func:`mask_values`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_WORDS = (
    r"passw(or)?d|passphrase|secret|token|credential|(api|access|secret|private|service|ssl|store)[._-]?key([._-]?pem)?"
    r"|jaas[._-]config|basic[._-]auth|auth[._-]params|http[._-]headers|account\.key\..+"
)
#: The name of a setting or an option whose value is a secret: it ends like one. Flink's own list is part of it.
SECRET_NAME = re.compile(rf"({_WORDS})\Z", re.IGNORECASE)
# Hides rather too much than too little: values below any name that holds such a word.
_HIDDEN_NAME = re.compile(_WORDS, re.IGNORECASE)
_QUOTED = re.compile(r"""(?:password|secret|token)\s*=\s*(["'])(.+?)\1""", re.IGNORECASE)
_PEM_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Shorter values ("true", "PEM") would cut words out of every message.
_MIN_SECRET = 6


def mask(text: str, secrets: Sequence[str]) -> str:
    """``text`` with every secret replaced by stars, longest first so that no rest of one stays."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET:
            text = text.replace(secret, "***")
    return _PEM_KEY.sub("***", text)


def mask_values(settings: Mapping[str, Any]) -> None:
    """Have Airflow's logs hide the passwords and keys among the settings: it does not know PEM keys by itself."""
    from hopsworks_flink._compat import mask_secret

    for secret in secret_strings(settings):
        mask_secret(secret)


def secret_strings(value: Any) -> list[str]:
    """The secrets in a JSON value, by the names above them, as they may turn up in a log; longest first."""
    return sorted(_secrets_in(value), key=len, reverse=True)


def spellings(text: str) -> set[str]:
    """A secret as it may turn up: whole, line by line, JSON-escaped, or the password inside a JAAS line."""
    pieces = {text, text.strip(), json.dumps(text)[1:-1], *(match.group(2) for match in _QUOTED.finditer(text))}
    pieces.update(line.strip() for line in text.splitlines() if not line.startswith("-----"))
    return {piece for piece in pieces if len(piece) >= _MIN_SECRET}


def _secrets_in(value: Any, secret: bool = False) -> set[str]:
    if isinstance(value, Mapping):
        # A number only where it is the secret itself, not the seconds that a token lives.
        texts = {
            key: str(item) if isinstance(item, int) and SECRET_NAME.search(str(key)) else item
            for key, item in value.items()
        }
        pairs = [(item, secret or bool(_HIDDEN_NAME.search(str(key)))) for key, item in texts.items()]
    elif isinstance(value, list):
        pairs = [(item, secret) for item in value]
    else:
        return spellings(value) if secret and isinstance(value, str) else set()
    return set().union(*(_secrets_in(item, hidden) for item, hidden in pairs))
