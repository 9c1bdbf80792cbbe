"""No text of a pipeline file, of the platform or of a connection changes what the SQL around it says.

A lexer of Flink's SQL, written for this test alone, reads the finished statements: whatever the texts are, the tokens
are the same ones, and a literal holds exactly the text.
"""

import copy
import re

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from feature_pipeline import bind
from hopsworks_flink.exceptions import PipelineError
from hopsworks_flink.pipeline.expressions import Expression
from hopsworks_flink.pipeline.expressions.functions import FUNCTION_NAMES
from hopsworks_flink.pipeline.expressions.terms import ExpressionError
from hopsworks_flink.pipeline.plan import bindings, compile_plan
from hopsworks_flink.pipeline.spec import Pipeline
from hopsworks_flink.pipeline.sql.files import source_tables
from tests.support.pipelines import COLUMNS, MINIMAL, PLAIN, registered

TOKEN = r"""(?P<text>'(?:[^']|'')*')|(?P<name>{0}(?:[^{0}]|{0}{0})*{0})|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_]\w*)|(?P<sign><>|<=|>=|\|\||[-+*/%=<>(),.\[\]])|(?P<blank>\s+)"""
TOKENS = {
    dialect: re.compile(TOKEN.format(quote), re.X | re.A) for dialect, quote in {"flink": "`", "duckdb": '"'}.items()
}
# Pieces that end literals, names, comments and statements, or that the runner would fill in.
PIECES = st.sampled_from(
    [
        *("'", "''", "`", '"', "\\", "\\'", ";", "--", "/*", "*/", "\n", "\0", "$", "$$", "${source_kafka}", "$x"),
        *(") OR (1=1", "'; DROP TABLE source; --", "` WITH ('connector'='print') --", "U&'\\0027'", "x'27'", "N'a'"),
        *(" ", "é", "\u2028", "\u02bc", "\uff07", "a", "0", "%", "{", "}", "{0}", "{0.__class__}"),
    ]
)
HOSTILE = st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join)
quick = settings(max_examples=60, deadline=None)


def tokens(sql, dialect="flink"):
    """Kind and text of each token. Fails for anything that is none, such as a semicolon or the start of a comment."""
    found, at = [], 0
    while at < len(sql):
        match = TOKENS[dialect].match(sql, at)
        assert match, f"no token of SQL: {sql[at : at + 30]!r}"
        at = match.end()
        if match.lastgroup != "blank":
            found.append((match.lastgroup, match.group()))
        assert sql[match.start() : match.start() + 2] not in ("--", "/*"), "a comment begins"
    return found


def shape(sql):
    """The statement without what stands in its literals and names."""
    return [kind if kind in ("text", "name") else text for kind, text in tokens(sql)]


def texts(sql):
    """Values of the literals."""
    return [text[1:-1].replace("''", "'") for kind, text in tokens(sql) if kind == "text"]


def statements(data, sink=PLAIN, topic="demo_onlinefs"):
    """Finished statements of a pipeline as the runner executes them, with either engine; the steps between are data."""
    finished = []
    for engine in ("native", "sql"):
        pipeline = Pipeline.parse({**data, "engine": engine})
        plan = compile_plan(pipeline, registered(pipeline, topic=topic))
        ids = {group.full_name: 1 for group in pipeline.feature_groups}
        values = bindings(pipeline, source_kafka=PLAIN, sink_kafka=sink, ingestion_ids=ids)["values"]
        sql = [statement for statement in (*plan.statements, *plan.inserts) if isinstance(statement, str)]
        finished += [bind(statement, values) for statement in sql]
    return finished


def with_text(text):
    """A pipeline that holds a text wherever a file may hold one."""
    data = copy.deepcopy(MINIMAL)
    literal = "'" + text.replace("'", "''") + "'"
    data["source"]["where"] = f"tid <> {literal}"
    data["source"]["derive"] = {"made": {"expression": f"tid || {literal}", "type": "string"}}
    data["feature_groups"][0]["aggregates"].update(
        last={"last_value": "tid", "default": text, "description": text[:256]},
        chosen={"count": "*", "where": f"made = {literal}"},
    )
    return data


def same_but_for_texts(found, plain):
    return [shape(statement) for statement in found] == [shape(statement) for statement in plain]


@quick
@given(HOSTILE)
@example("it's $1 and ${source_kafka}; --")
def test_texts_of_a_file_stay_literals(text):
    try:
        found = statements(with_text(text))
    except PipelineError:
        # Refused for what cannot be printed, and for nothing else.
        assert not text.isprintable()
        return
    plain = statements(with_text("x"))
    assert same_but_for_texts(found, plain)
    pairs = [
        pair for one, other in zip(found, plain, strict=True) for pair in zip(texts(one), texts(other), strict=True)
    ]
    assert all(one == other or (one, other) == (text, "x") for one, other in pairs)


@quick
@given(HOSTILE, HOSTILE)
def test_what_the_platform_and_a_connection_say_stays_a_literal(topic, password):
    found = statements(MINIMAL, topic=topic, sink={**PLAIN, "ssl.key.password": password})
    assert same_but_for_texts(found, statements(MINIMAL, sink={**PLAIN, "ssl.key.password": "x"}))
    sink = next(statement for statement in found if "`cards_10m v1` (" in statement and "WITH" in statement)
    assert topic in texts(sink)
    assert password in texts(sink)


@quick
@given(HOSTILE)
def test_the_path_of_a_history_stays_a_literal(path):
    def table(path):
        pipeline = Pipeline.parse({**copy.deepcopy(MINIMAL), "history": {"path": path}})
        plan = compile_plan(pipeline, registered(pipeline))
        return bind(source_tables(pipeline, plan.statements[0], 0, 1)[0], {})

    try:
        found = table("/data/" + path)
    except PipelineError:
        return
    assert shape(found) in (shape(table("/data/x")), shape(table("/data/*")))
    assert any(text.startswith("/data") for text in texts(found))


@quick
@given(HOSTILE | st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True), st.integers(0, 6))
@example("select", 0)
@example("tid", 6)
def test_names_stay_names(name, place):
    def renamed(name):
        data = copy.deepcopy(MINIMAL)
        source, group = data["source"], data["feature_groups"][0]
        if place == 0:
            source["schema"] = {**source["schema"], name: "string"}
            group["aggregates"]["extra"] = {"max": name}
        elif place == 1:
            source["schema"] = {**source["schema"], name: "string"}
            group["key"] = ["cc_num", name]
        elif place == 2:
            group["aggregates"][name] = "count"
        elif place == 3:
            group["name"] = name
        elif place == 4:
            data["name"] = name
        elif place == 5:
            source["topic"] = name
        else:
            source["derive"] = {name: {"expression": "amount", "type": "double"}}
        return data

    try:
        found = statements(renamed(name))
    except PipelineError:
        return
    # A name that the file has already is another file.
    assume(name not in [*MINIMAL["source"]["schema"], *MINIMAL["feature_groups"][0]["aggregates"]])
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    plain = statements(renamed("zzz" if name > "cc_num" else "aaa"))
    assert same_but_for_texts(found, plain)


# What Flink's text of an expression may be made of, beside functions, columns and literals.
KNOWN = """
    AND OR NOT IS NULL TRUE FALSE CASE WHEN THEN ELSE END BETWEEN IN DISTINCT FROM AS BOTH LEADING TRAILING TO
    MOD TRY_CAST REGEXP CHAR_LENGTH STARTSWITH TO_TIMESTAMP_LTZ DATE TIMESTAMP
    BOOLEAN TINYINT SMALLINT INT BIGINT FLOAT DOUBLE DECIMAL STRING BYTES
    YEAR QUARTER MONTH WEEK DAY DOY ISODOW HOUR MINUTE SECOND EPOCH MICROSECOND
"""
WORDS = {*FUNCTION_NAMES.split(", "), *KNOWN.split()}
OTHERS = """
    ( ( ) ) , + - - * / % = < > <> || . : :: [ ] { } ? @ # ~ ^ & | ! ; -- /* */ $ ${source_kafka} ` " '
    SELECT FROM WHERE UNION VALUES TABLE INSERT DROP EXISTS OVER PARTITION LATERAL UNNEST INTERVAL AT
    CASE WHEN THEN ELSE END AND OR NOT IS NULL IN BETWEEN LIKE AS ANY ESCAPE CAST TRY_CAST DISTINCT
    1 0 2.5 1e3 'a' 'it''s' 'x;--' "name" `name` DATE TIMESTAMP '2025-01-01' int string double
    COUNT SUM RAND NOW CURRENT_TIMESTAMP CURRENT_WATERMARK ENCODE MD5 JSON_VALUE PYTHON_CALL
"""
FRAGMENTS = st.sampled_from([*COLUMNS, *FUNCTION_NAMES.split(", "), *OTHERS.split()])


@settings(max_examples=400, deadline=None)
@given(st.lists(FRAGMENTS, min_size=1, max_size=9).map(" ".join) | HOSTILE)
@example("name = 'a' -- ' OR TRUE")
@example("n /* hint */ + 1")
@example("- - n")
@example("- (-5)")
@example("CAST(name AS double)")
@example("TRIM(LEADING FROM name) || REPLACE(name, '{0}', '}')")
def test_accepted_expressions_are_made_of_known_words(text):
    try:
        expression = Expression.parse(text, COLUMNS)
    except ExpressionError:
        return
    for dialect in ("flink", "duckdb"):
        sql, depth = expression.sql(dialect), 0
        for kind, token in tokens(sql, dialect):
            depth += {"(": 1, ")": -1}.get(token, 0)
            assert depth >= 0
            assert kind != "name" or token[1:-1] in COLUMNS, sql
            assert kind != "word" or dialect != "flink" or token in WORDS, sql
        assert depth == 0
