"""The tables that a text of SQL names. No full parser: what cannot be told is taken for a table."""

from __future__ import annotations

import re
from collections import Counter
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
#: With a parenthesis behind them, of those: it has tables in it as they have. Others are functions then, as REPLACE(…),
#: or what they have is a list of values, as IN (…).
_BEFORE_PARENTHESES = re.compile("from|join|into|table|using|only|lateral|,|\\(")
#: They are no beginning of a list of tables.
_BEFORE_ONE = re.compile("in|exists")
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
#: A block of statements in a literal, that is run at once.
_BLOCK = re.compile(r"""\bDO\s+(?:LANGUAGE\s+\w+\s+)?(?:[$']|E')""", re.IGNORECASE)
_UNICODE = re.compile(r"""\bU&"((?:[^"]|"")*)"(?:\s*UESCAPE\s*'(.)')?""", re.IGNORECASE | re.DOTALL)


def words(text: str) -> frozenset[str]:
    """All words of a text, in lower case: where a name is not among them, its table is not named."""
    return frozenset(word.casefold() for word in _WORD.findall(_UNICODE.sub(_decoded, text) if "&" in text else text))


def _decoded(match: re.Match[str]) -> str:
    """A quoted name with Unicode escapes, without these."""
    code = re.compile(re.escape(match[2] or "\\") + r"(?:\+([\da-f]{6})|([\da-f]{4}))", re.IGNORECASE)
    return code.sub(lambda found: chr(int(found[1] or found[2], 16)), f'"{match[1]}"')


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

    All words of a text with backslashes or Unicode escapes, where it cannot be told where its literals end, and of one
    whose literal is run.
    """
    if _is_escaped(text):
        return words(text)
    return frozenset(_scan(text))


def mentions(text: str) -> Counter[str] | None:
    """How often each name stands where tables do; ``None`` where that cannot be told."""
    return None if _is_escaped(text) else Counter(_scan(text))


def _is_escaped(text: str) -> bool:
    return (
        "\\" in text or re.search(r"""\bU&["']""", text, re.IGNORECASE) is not None or _BLOCK.search(text) is not None
    )


class _Level:
    """What is known at one depth of parentheses."""

    __slots__ = ("expects", "in_list", "seen_verb", "was_in_list")

    def __init__(self, expects: bool) -> None:
        self.expects = expects  # the next name is a table
        self.in_list = expects  # and so is the next after a comma
        self.was_in_list = expects  # before the last word that changed it
        self.seen_verb = expects


def _scan(text: str) -> list[str]:
    found: list[str] = []
    levels = [_Level(False)]
    chain: list[str] = []  # a name as far as it was read: schema, table
    before = ""
    for match in _TOKEN.finditer(text):
        kind, part = match.lastgroup, match[0]
        if kind == "skip":
            continue
        level = levels[-1]
        # SQLite takes a literal for a name where only a name can stand
        is_name = kind == "name" or (part[0] == "'" and (level.expects or before == "."))
        if is_name and (before == "." and chain):
            chain.append(_bare(part))
        elif part == "." and chain:
            pass
        else:
            if chain:
                found.append(chain[-1])
                chain = []
                level.expects = False
            if is_name:
                _word(part, before, level, chain)
            elif part == "(":
                levels.append(_Level(level.expects and _opens(before, level)))
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
        found.append(chain[-1])
    return found


def _opens(before: str, level: _Level) -> bool:
    """Whether there are tables in a parenthesis, where one is expected."""
    if _BEFORE_PARENTHESES.fullmatch(before):
        return True
    level.in_list = level.was_in_list
    return False


def _word(part: str, before: str, level: _Level, chain: list[str]) -> None:
    word = part.casefold()
    if _VERBS.fullmatch(word):
        level.seen_verb = True
    if _BEFORE_TABLES.fullmatch(word):
        if word != "from" or (level.seen_verb and before != "distinct"):
            level.was_in_list = level.in_list
            level.expects = True
            level.in_list = level.in_list or not _BEFORE_ONE.fullmatch(word)
    elif _AFTER_TABLES.fullmatch(word):
        level.expects = level.in_list = False
    elif word in ("on", "as"):
        level.expects = False
    elif level.expects:
        chain.append(_bare(part))


def _bare(part: str) -> str:
    return (part[1:-1].replace(part[-1] * 2, part[-1]) if part[0] in "\"`['" else part).casefold()
