"""Which tables a text of SQL names."""

from __future__ import annotations

import pytest

from flask_archie_keys.store.guarding.table_names import is_ddl, mentions, named_tables, words


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("SELECT * FROM doc", "doc"),
        ("select id, doc.note from doc d, note where x = 'doc; from tag'", "doc note"),
        ('SELECT a FROM "Doc" JOIN public."doc ""tag""" ON a = b, folder', 'doc|doc "tag"|folder'),
        ("SELECT a FROM `doc`, [note]", "doc note"),
        ("SELECT 1 FROM a JOIN b ON a.x = b.x, c", "a b c"),
        ("UPDATE doc SET a = (SELECT 1 FROM note)", "doc note"),
        ("UPDATE OR IGNORE doc SET a = 1", "doc or"),
        ("INSERT INTO doc (id, tag) SELECT id, tag FROM note", "doc note"),
        ("INSERT OR REPLACE INTO doc VALUES (1)", "doc"),
        ("REPLACE INTO doc VALUES (1)", "doc"),
        ("DELETE FROM ONLY doc USING tag WHERE 1 = 1", "doc tag"),
        ("MERGE INTO doc USING note ON 1 = 1", "doc note"),
        ("SELECT EXTRACT(year FROM orders), trim(both FROM x) FROM a WHERE b IS DISTINCT FROM c", "a"),
        ("SELECT 1 WHERE a IN (SELECT 1 FROM e)", "e"),
        ("SELECT x FROM t WHERE y IN doc", "doc t"),
        ("WITH x AS (SELECT * FROM doc) SELECT * FROM x", "doc x"),
        ("SELECT * FROM (doc JOIN note ON 1 = 1) LEFT JOIN LATERAL (SELECT * FROM tag) t ON true", "doc note tag"),
        ("TABLE doc", "doc"),
        ("COPY doc TO STDOUT", "doc"),
        ("TRUNCATE doc, note", "doc note"),
        ("LOCK TABLE doc", "doc"),
        ("EXPLAIN SELECT * FROM doc", "doc"),
        ("SELECT 1; SELECT * FROM doc", "doc"),
        ("SELECT 1 UNION SELECT id FROM doc ORDER BY note", "doc"),
        ("SELECT count(doc) AS note, doc FROM t AS doc", "t"),
        ("SELECT * FROM a -- , doc\n, b /* , note */", "a b"),
        ("SELECT $$ FROM doc $$, $x$ FROM note $x$ FROM t", "t"),
        ("SELECT 'it''s FROM doc' FROM t", "t"),
        ("SELECT doc FROM t WHERE doc = 'doc' GROUP BY doc, note", "t"),
        (r"SELECT E'\' FROM doc' FROM t", "doc e from select t"),
        ("SELECT * FROM 'doc' JOIN main.'note' ON 1 = 1, 'tag'", "doc note tag"),
        ("SELECT 1 FROM t WHERE x IN ('doc', note) AND y IN 'tag'", "t tag"),
        ("SELECT replace(doc, 'tag', 'x'), note FROM t", "t"),
        ("SELECT 1 FROM a JOIN b ON a.x IN (1, 2) AND replace(a.y, 'x', '') = '', doc", "a b doc"),
        ("LOCK doc, note", "doc note"),
        ("DELETE FROM ONLY (doc)", "doc"),
        ("DO $$ BEGIN DELETE FROM doc; END $$", "do $$ begin delete from doc end"),
        ("DO LANGUAGE plpgsql 'BEGIN END'", "do language plpgsql begin end"),
        ("INSERT INTO doc VALUES ('$') ON CONFLICT DO NOTHING", "doc"),
        ("", ""),
    ],
)
def test_names_where_tables_stand(text: str, names: str) -> None:
    assert named_tables(text) == frozenset(names.split("|") if "|" in names else names.split())


def test_how_often_names_stand_where_tables_do() -> None:
    assert mentions("SELECT (SELECT 1 FROM Doc) FROM doc, note AS doc WHERE doc.x IN (SELECT 1 FROM doc)") == {
        "doc": 3,
        "note": 1,
    }
    assert mentions(r"SELECT '\' FROM doc") is None


def test_all_words() -> None:
    assert words('SELECT "Doc".a FROM public.doc2') == {"select", "doc", "a", "from", "public", "doc2"}
    assert "doc" in words(r'''SELECT 1 FROM U&"d\006fc"''') & words("""TABLE u&"!+000064oc" UESCAPE '!'""")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE TABLE doc (id INTEGER)", True),
        ("  create index i on doc (id)", True),
        ("ALTER TABLE doc ADD COLUMN x TEXT", True),
        ("DROP TABLE doc;", True),
        ("PRAGMA table_info(doc)", True),
        ("ANALYZE doc", True),
        ("CREATE OR REPLACE VIEW v AS SELECT * FROM doc", True),
        ("CREATE TRIGGER t AFTER INSERT ON doc BEGIN DELETE FROM doc; END", True),
        ("CREATE TABLE copy AS SELECT * FROM doc", False),
        ("CREATE MATERIALIZED VIEW v AS SELECT * FROM doc", False),
        ("CREATE TABLE copy AS TABLE doc", False),
        ("DROP TABLE x; SELECT * FROM doc", False),
        ("TRUNCATE doc", False),
        ("SELECT * INTO copy FROM doc", False),
        ("EXPLAIN ANALYZE SELECT * FROM doc", False),
    ],
)
def test_ddl(text: str, expected: bool) -> None:
    assert is_ddl(text) is expected
