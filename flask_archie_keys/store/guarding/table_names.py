"""The tables that a text of SQL names. No full parser: what cannot be told is taken for a table."""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(
    r"""
    (?P<skip>\s+ | --[^\n]* | /\*.*?\*/)
    | (?P<text>'(?:[^']|'')*' | (?P<dollar>\$\w*\$).*?(?P=dollar))
    | (?P<name>"(?:[^"]|"")*" | `[^`]*` | \[\w[^\]]*\] | [^\W\d][\w$]*)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
#: After these comes a table, or a list of tables.
_BEFORE_TABLES = re.compile(
    "from|join|into|update|using|table|only|truncate|copy|lock|replace|ignore|abort|fail|rollback|in|exists|analyze|"
    "vacuum|reindex|describe|handler|lateral|references"
)
#: These end a list of tables.
_AFTER_TABLES = re.compile(
    "where|set|values|select|group|order|having|limit|offset|window|returning|union|intersect|except|fetch|for|default|"
    "qualify"
)
#: A FROM belongs to one of these, and not to a function such as EXTRACT(… FROM …).
_VERBS = re.compile("select|delete|update|insert|with|merge|copy|replace|truncate")
#: Texts that begin with these change no rows and show none.
_DDL = re.compile(r"\s*(?:CREATE|ALTER|DROP|PRAGMA|COMMENT|ANALYZE|VACUUM|REINDEX)\b", re.IGNORECASE)
_SELECTS = re.compile(r"\b(?:SELECT|TABLE\s+\S+\s+AS|VALUES|WITH|EXECUTE)\b", re.IGNORECASE)
#: They hold statements that are not run now.
_ROUTINE = re.compile(
    r"\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP\w*\s+)?(?:CONSTRAINT\s+|RECURSIVE\s+)?"
    r"(?:TRIGGER|FUNCTION|PROCEDURE|POLICY|RULE|VIEW)\b",
    re.IGNORECASE,
)
_SEVERAL = re.compile(r";\s*[^\s;]")
_WORD = re.compile(r"[\w$]+")


def words(text: str) -> frozenset[str]:
    """All words of a text, in lower case: where a name is not among them, its table is not named."""
    return frozenset(word.casefold() for word in _WORD.findall(text))


def is_ddl(text: str) -> bool:
    """Whether a text changes the schema and neither reads nor writes rows, as ``CREATE TABLE … AS SELECT`` does."""
    if _DDL.match(text) is None:
        return False
    if _ROUTINE.match(text):
        return True
    return not _SEVERAL.search(text) and not (text.lstrip()[:6].upper() == "CREATE" and _reads(text))


def _reads(text: str) -> bool:
    return re.search(r"\bAS\b", text, re.IGNORECASE) is not None and _SELECTS.search(text) is not None


@lru_cache(maxsize=1024)
def named_tables(text: str) -> frozenset[str]:
    """The names that stand where tables do, in lower case, without schema and quotes.

    Where a text has backslashes or Unicode escapes, so that it cannot be told where its literals end, all its words.
    """
    if "\\" in text or re.search(r"""\bU&["']""", text, re.IGNORECASE):
        return words(text)
    return frozenset(_scan(text))


class _Level:
    """What is known at one depth of parentheses."""

    __slots__ = ("expects", "in_list", "seen_verb")

    def __init__(self, expects: bool) -> None:
        self.expects = expects  # the next name is a table
        self.in_list = expects  # and so is the next after a comma
        self.seen_verb = expects


def _scan(text: str) -> set[str]:
    found: set[str] = set()
    levels = [_Level(False)]
    chain: list[str] = []  # a name as far as it was read: schema, table
    before = ""
    for match in _TOKEN.finditer(text):
        kind, part = match.lastgroup, match[0]
        if kind == "skip":
            continue
        level = levels[-1]
        if kind == "name" and (before == "." and chain):
            chain.append(_bare(part))
        elif part == "." and chain:
            pass
        else:
            if chain:
                found.add(chain[-1])
                chain = []
                level.expects = False
            if kind == "name":
                _word(part, before, level, chain)
            elif part == "(":
                levels.append(_Level(level.expects))
            elif part == ")":
                if len(levels) > 1:
                    levels.pop()
                levels[-1].expects = False
            elif part == ",":
                level.expects = level.in_list
            elif part == ";":
                levels[-1] = _Level(False)
        before = part.casefold()
    if chain:
        found.add(chain[-1])
    return found


def _word(part: str, before: str, level: _Level, chain: list[str]) -> None:
    word = part.casefold()
    if _VERBS.fullmatch(word):
        level.seen_verb = True
    if _BEFORE_TABLES.fullmatch(word):
        if word != "from" or (level.seen_verb and before != "distinct"):
            level.expects = level.in_list = True
    elif _AFTER_TABLES.fullmatch(word):
        level.expects = level.in_list = False
    elif word in ("on", "as"):
        level.expects = False
    elif level.expects:
        chain.append(_bare(part))


def _bare(part: str) -> str:
    return (part[1:-1].replace(part[-1] * 2, part[-1]) if part[0] in '"`[' else part).casefold()
