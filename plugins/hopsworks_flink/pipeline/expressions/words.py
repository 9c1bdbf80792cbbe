"""What to say of an expression that cannot be read: where it breaks, and which column's name is a word of SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations

from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokens import Tokenizer, TokenType

_MOST_NAMES = 4
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER, TokenType.STRING, TokenType.NUMBER)


def reason(error: SqlglotError | RecursionError) -> str:
    """Why a text is no expression, without the parser's own vocabulary."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, ParseError):
        return "a quote or a comment is not closed"
    place = error.errors[0] if error.errors else {}
    near, column = place.get("highlight"), place.get("col")
    return f"it cannot be read near {near!r}, character {column}" if near else "it cannot be read"


def with_reserved_words_quoted(text: str, columns: Collection[str]) -> Iterator[tuple[list[str], str]]:
    """Columns whose names stand in a text as words of SQL, with the text in which they are quoted: each, then more."""
    try:
        tokens = Tokenizer().tokenize(text)
    except SqlglotError:
        return
    found = [token for token in tokens if token.token_type not in _NAMES and token.text in columns]
    names = list(dict.fromkeys(token.text for token in found))
    # One of them may well be meant as the word: `and` in `from > 1 and to > 1`.
    names = names[:_MOST_NAMES]
    for wanted in (list(some) for count in range(1, len(names) + 1) for some in combinations(names, count)):
        quoted = text
        for token in reversed(found):
            if token.text in wanted:
                quoted = f'{quoted[: token.start]}"{token.text}"{quoted[token.end + 1 :]}'
        yield wanted, quoted
