"""Words of SQL as names of columns: quoted they are columns everywhere, and unquoted the error says so."""

import pytest
from sqlglot.tokens import Tokenizer

from hopsworks_flink.pipeline.expressions import Expression
from hopsworks_flink.pipeline.expressions.terms import ExpressionError
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.types import BIGINT
from hopsworks_flink.testing import evaluate
from tests.support.pipelines import named_by_words

# Flink's reserved words (nightlies' page "SQL", section "Reserved Keywords"), as far as they are letters of one word.
FLINK = """
abs all allocate allow alter and any are array as asensitive asymmetric at atomic authorization avg begin between bigint
binary bit blob boolean both by bytes call called cardinality cascaded case cast catalogs ceil ceiling char character
check clob close coalesce collate collect column columns commit condition connect constraint contains convert corr count
create cross cube current cursor cycle date day deallocate dec decimal declare default deferred delete deref describe
deterministic disallow disconnect distinct double drop dynamic each element else empty end equals escape every except
exec execute exists exp explain extend external extract false fetch filter first float floor for foreign frame free from
full function fusion get global grant group grouping groups having hold hour identity import in indicator initial inner
inout insensitive insert int integer intersect intersection interval into is join lag language large last lateral lead
leading left like limit ln local localtime localtimestamp lower map match matches max measures member merge method min
minus minute mod modifies module modules month multiset national natural nchar new next no none normalize not nth ntile
null nullif numeric object octets of offset old omit on one only open or order out outer over overlaps overlay parameter
partition pattern per percent period permute portion position power precedes precision prepare prev primary procedure
range rank raw reads real recursive ref references release rename replace reset result return returns revoke right
rollup row rows running savepoint scope scroll search second seek select sensitive set show similar skip smallint some
specific sql start static statement submultiset subset substring succeeds sum symmetric system table tablesample then
time timestamp tinyint to trailing translate translation treat trigger trim true truncate uescape union unique unknown
unnest update upper upsert use user using value values varbinary varchar varying view views when whenever where window
with within without year
"""
WORDS = sorted({*FLINK.split(), *(word.lower() for word in Tokenizer.KEYWORDS if word.isidentifier())})


@pytest.mark.parametrize("start", range(0, len(WORDS), 50))
def test_quoted_they_are_columns_that_can_be_computed_with(start):
    words = [word for word in WORDS[start : start + 50] if word != "at"]
    event = {word: number for number, word in enumerate(words, 1)}
    (row,) = evaluate(named_by_words(words), [{**event, "at": 60_000}])["words_1"]
    assert {word: row[word] for word in words} == event
    assert {word: row[f"f_{word}"] - 1 for word in words[1:]} == {word: event[word] for word in words[1:]}


@pytest.mark.parametrize("word", WORDS)
def test_unquoted_they_are_the_column_or_the_error_says_to_quote(word):
    columns = {word: BIGINT, "x": BIGINT}
    meant = Expression.parse(f'x > 1 AND "{word}" > 3', columns)
    assert meant.columns == {word, "x"}
    try:
        found = Expression.parse(f"x > 1 AND {word} > 3", columns)
    except ExpressionError as error:
        told = str(error)
    else:
        assert found == meant
        return
    # The word that joins the two conditions cannot be told from the column.
    assert told == f'`{word}` is a reserved word: quote it as "{word}"' or word == "and"


def test_several_at_once():
    columns = {"from": BIGINT, "to": BIGINT, "select": BIGINT, "and": BIGINT}
    with pytest.raises(ExpressionError, match='`from`, `select` are reserved words: quote them as "from", "select"'):
        Expression.parse("from > to AND select > 1", columns)


def test_what_is_wrong_beside_the_word_does_not_hide_it():
    with pytest.raises(ExpressionError, match='`from` is a reserved word: quote it as "from"'):
        Expression.parse("from + unknown > 'a'", {"from": BIGINT})


@pytest.mark.parametrize("word", ["null", "true", "False"])
def test_a_constant_is_not_taken_for_a_column_of_its_name(word):
    with pytest.raises(ExpressionError, match=f'`{word}` is a reserved word: quote it as "{word}"'):
        Expression.parse(f"{word} = x", {word: BIGINT, "x": BIGINT})
    assert Expression.parse("x IS NOT NULL AND (x > 1) IS NOT TRUE", {word: BIGINT, "x": BIGINT}).columns == {"x"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x >", "it cannot be read near '>', character 3"),
        ("x > 1 1", "it cannot be read near '1', character 7"),
        ("(x > 1", "it cannot be read near '1', character 6"),
        ("x > 'a", "a quote or a comment is not closed"),
    ],
)
def test_what_cannot_be_read_is_told_without_the_parsers_words(text, reason):
    with pytest.raises(ExpressionError, match=f"is not an SQL expression: {reason}$"):
        Expression.parse(text, {"x": BIGINT})


def test_the_error_names_the_setting():
    data = named_by_words(["from", "to"])
    data["source"]["where"] = "from > 3"
    with pytest.raises(ValueError, match='source: where: `from` is a reserved word: quote it as "from"'):
        Pipeline.parse(data)
