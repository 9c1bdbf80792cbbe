"""What to say of an expression that cannot be read: where it breaks, and which column's name is a word of SQL."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import combinations

from sqlglot.errors import ParseError, SqlglotError
from sqlglot.tokens import Tokenizer, TokenType

_MOST_NAMES = 4
_IS = (TokenType.IS, TokenType.ISNULL, TokenType.NOTNULL)
_COMPARISONS = (
    *(TokenType.EQ, TokenType.NEQ, TokenType.NULLSAFE_EQ),
    *(TokenType.LT, TokenType.LTE, TokenType.GT, TokenType.GTE),
)
_APART = (TokenType.AND, TokenType.OR, TokenType.COMMA, TokenType.WHEN, TokenType.THEN, TokenType.ELSE)
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


def has_is_beside_comparison(text: str) -> bool:
    """Whether an expression has both without parentheses: the parser takes IS first, databases the comparison."""
    # Of each open parenthesis and CASE: which of the two were there since what stands apart.
    open_: list[set[bool]] = [set()]
    for token in Tokenizer().tokenize(text):
        kind = token.token_type
        if kind in (TokenType.L_PAREN, TokenType.CASE):
            open_.append(set())
        elif kind in (TokenType.R_PAREN, TokenType.END):
            # A column may be named end.
            open_ = open_[:-1] or [set()]
        elif kind in _APART:
            open_[-1] = set()
        elif kind in _IS or kind in _COMPARISONS:
            open_[-1].add(kind in _IS)
            if len(open_[-1]) > 1:
                return True
    return False


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
