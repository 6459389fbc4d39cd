"""The parser of the filter language: tokens, then recursive descent with bounds on length, depth and terms.

::

    filter     = all_of {"OR" all_of}
    all_of     = part {"AND" part}
    part       = "NOT" part | "(" filter ")" | comparison
    comparison = operand ("=" | "!=" | "<>" | "<" | "<=" | ">" | ">=") operand
               | column ["NOT"] "IN" ("(" item {"," item} ")" | variable)
               | operand ["NOT"] "BETWEEN" operand "AND" operand
               | column "IS" ["NOT"] "NULL"
    operand    = column | item
    item       = string | integer | decimal | "true" | "false" | variable
    column     = name {"." name}
    variable   = "$userId" | "$keyId" | "$project" | "$environment" | "$now" | "$context." name
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import NamedTuple, cast

from .filter_tree import (
    And,
    Between,
    Column,
    Comparison,
    In,
    IsNull,
    Leaf,
    Literal,
    Node,
    Not,
    Operand,
    Operator,
    Or,
    Variable,
    operands,
)
from .rules import nearest

LENGTH_MAX = 2000
DEPTH_MAX = 20
TERMS_MAX = 100
NAME_MAX = 63
PARTS_MAX = 4
CONTEXT_NAME_MAX = 64
#: What the principal and the clock supply, besides ``context.<name>``.
VARIABLES = ("userId", "keyId", "project", "environment", "now")
_KEYWORDS = frozenset({"and", "or", "not", "in", "between", "is", "null", "true", "false"})
_MISSING = {
    "like": "there is no LIKE; write = or IN",
    "ilike": "there is no ILIKE; write = or IN",
    "select": "there are no sub-queries",
    "exists": "there are no sub-queries",
}
_NAMES = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_TOKEN = re.compile(
    rf"""(?P<blank>[ \t\r\n]+)
    |(?P<name>{_NAMES})
    |(?P<variable>\${_NAMES})
    |(?P<number>-?[0-9]+(?:\.[0-9]+)?)(?![A-Za-z0-9_.])
    |(?P<string>'(?:[^']|'')*')(?!')
    |(?P<operator><=|>=|<>|!=|=(?!=)|<|>)
    |(?P<mark>[(),])""",
    re.VERBOSE,
)
_REFUSED = [
    (re.compile(pattern), message)
    for pattern, message in [
        (r"--|/\*|#", "there are no comments"),
        (r"'", "the string has no end; a quote within a string is written twice"),
        (r'["`\[\]]', "names stand without quotes, and strings in single quotes"),
        (r"==", "equality is written with one ="),
        (r"\$", "a variable is $userId, $keyId, $project, $environment, $now or $context.<name>"),
        (r"-?[0-9]", "a number is written with digits and at most one point between them"),
        (r"[-+*/%^&|~]", "there is no arithmetic"),
        (r"[?:@{}]", "values are written as they are, or as a $variable"),
        (r";", "a filter is one condition, without ;"),
    ]
]


class FilterError(ValueError):
    """A filter cannot be read, or does not fit the columns.

    :ivar message: what is wrong, and what to write instead where that is known.
    :ivar position: where, as an index into the text, from 0.
    """

    def __init__(self, message: str, position: int) -> None:
        self.message = message
        self.position = position
        super().__init__(f"{message} (at character {position + 1})")


class _Token(NamedTuple):
    kind: str
    text: str
    position: int

    @property
    def word(self) -> str:
        """The keyword that a name is, or ``""``."""
        lower = self.text.lower()
        return lower if self.kind == "name" and (lower in _KEYWORDS or lower in _MISSING) else ""


def read(text: str) -> Node:
    """The tree of a filter's text.

    :raises FilterError: if it is not one.
    """
    if len(text) > LENGTH_MAX:
        raise FilterError(f"a filter has at most {LENGTH_MAX} characters, not {len(text)}", LENGTH_MAX)
    return _Parser(text).read()


def _tokens(text: str) -> list[_Token]:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _meaningless(text, position)
        kind = str(match.lastgroup)
        if kind != "blank":
            found.append(_Token(kind, match.group(), position))
        position = match.end()
    found.append(_Token("end", "", len(text)))
    return found


def _meaningless(text: str, position: int) -> FilterError:
    for pattern, message in _REFUSED:
        if pattern.match(text, position):
            return FilterError(message, position)
    return FilterError(f"{text[position]!r} has no meaning here", position)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = _tokens(text)
        self.at = 0
        self.depth = 0
        self.terms = 0

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.tokens[self.at]
        self.at += token.kind != "end"
        return token

    def accept(self, word: str) -> bool:
        if self.next.word == word or (self.next.kind == "mark" and self.next.text == word):
            self.at += 1
            return True
        return False

    def expect(self, word: str, message: str) -> None:
        if not self.accept(word):
            raise self.error(message)

    def error(self, message: str) -> FilterError:
        token = self.next
        if token.word in _MISSING:
            message = _MISSING[token.word]
        elif token.kind == "end":
            message += "; the text ends here"
        return FilterError(message, token.position)

    def read(self) -> Node:
        if self.next.kind == "end":
            raise FilterError("a filter must not be empty; a grant without a filter has none at all", 0)
        node = self.any_of()
        if self.next.kind != "end":
            raise self.error("AND or OR must stand between two conditions")
        return node

    def any_of(self) -> Node:
        parts = [self.all_of()]
        while self.accept("or"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def all_of(self) -> Node:
        parts = [self.part()]
        while self.accept("and"):
            parts.append(self.part())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def part(self) -> Node:
        start = self.next
        if not self.accept("not") and not self.accept("("):
            return self.comparison()
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise FilterError(f"a filter is at most {DEPTH_MAX} brackets and NOTs deep", start.position)
        if start.word == "not":
            node: Node = Not(self.part())
        else:
            node = self.any_of()
            self.expect(")", "a bracket must be closed here")
        self.depth -= 1
        return node

    def count(self, position: int) -> None:
        self.terms += 1
        if self.terms > TERMS_MAX:
            raise FilterError(f"a filter has at most {TERMS_MAX} comparisons and list items", position)

    def comparison(self) -> Node:
        self.count(self.next.position)
        left = self.operand()
        token = self.next
        if token.kind == "operator":
            self.take()
            operator = cast(Operator, "!=" if token.text == "<>" else token.text)
            return _sound(Comparison(operator, left, self.operand(token.text), token.position), token)
        if self.accept("is"):
            negated = self.accept("not")
            self.expect("null", "after IS comes NULL or NOT NULL")
            return _sound(IsNull(_column(left, "IS NULL"), negated, token.position), token)
        negated = self.accept("not")
        if self.accept("in"):
            return _sound(In(_column(left, "IN"), self.items(), negated, token.position), token)
        if self.accept("between"):
            low = self.operand()
            self.expect("and", "BETWEEN is written x BETWEEN a AND b")
            return _sound(Between(left, low, self.operand(), negated, token.position), token)
        if negated:
            raise self.error("after NOT comes IN or BETWEEN here")
        raise self.error(f"a comparison is missing; a boolean column is written {left} = true")

    def items(self) -> tuple[Operand, ...]:
        if self.next.kind == "variable":
            self.count(self.next.position)
            return (self.operand(),)
        self.expect("(", "after IN comes a list in brackets or a variable")
        found: list[Operand] = []
        while True:
            if self.next.text == ")" and not found:
                raise self.error("a list must not be empty")
            self.count(self.next.position)
            item = self.operand()
            if isinstance(item, Column):
                raise FilterError("a list holds values and variables, not columns", item.position)
            found.append(item)
            if self.accept(")"):
                return tuple(found)
            self.expect(",", "a comma or a closing bracket must stand here")

    def operand(self, operator: str = "") -> Operand:
        token = self.next
        if token.kind in ("string", "number", "variable") or (token.kind == "name" and not token.word):
            return self.plain_operand(self.take())
        if token.word in ("true", "false"):
            return Literal(self.take().word == "true", token.position)
        if token.word == "null":
            raise self.error(f"{operator or 'a comparison with'} NULL is never true; write IS NULL or IS NOT NULL")
        raise self.error("a column, a value or a variable must stand here")

    def plain_operand(self, token: _Token) -> Operand:
        if token.kind == "string":
            return Literal(_string(token), token.position)
        if token.kind == "number":
            return Literal(Decimal(token.text) if "." in token.text else int(token.text), token.position)
        if token.kind == "variable":
            return Variable(_variable(token), token.position)
        if self.next.text == "(" and self.next.kind == "mark":
            raise FilterError("there are no functions", token.position)
        return Column(_path(token), token.position)


def _string(token: _Token) -> str:
    text = token.text[1:-1].replace("''", "'")
    for offset, character in enumerate(token.text):
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise FilterError("a string holds no control characters or lone surrogates", token.position + offset)
    return text


def _variable(token: _Token) -> str:
    name = token.text[1:]
    if name in VARIABLES:
        return name
    first, *rest = name.split(".")
    if first == "context" and len(rest) == 1:
        if len(rest[0]) > CONTEXT_NAME_MAX:
            raise FilterError(f"a name in the context has at most {CONTEXT_NAME_MAX} characters", token.position)
        return name
    if first == "context":
        raise FilterError("the context is read as $context.<name>", token.position)
    known = nearest(name[:100], [*VARIABLES, "context"])
    raise FilterError(f"there is no variable ${name[:100]}{known}", token.position)


def _path(token: _Token) -> tuple[str, ...]:
    parts = tuple(token.text.split("."))
    for part in parts:
        if part.lower() in _KEYWORDS or part.lower() in _MISSING:
            raise FilterError(f"{part} is a keyword, not a column", token.position)
        if len(part) > NAME_MAX:
            raise FilterError(f"a column's name has at most {NAME_MAX} characters", token.position)
    if len(parts) > PARTS_MAX:
        raise FilterError(f"a path has at most {PARTS_MAX} parts", token.position)
    return parts


def _column(operand: Operand, before: str) -> Column:
    if not isinstance(operand, Column):
        position = 0 if not isinstance(operand, (Literal, Variable)) else operand.position
        raise FilterError(f"before {before} stands a column", position)
    return operand


def _sound(leaf: Leaf, token: _Token) -> Leaf:
    """Refuse comparisons of values alone, and of two related rows: there would be no one row to ask."""
    columns = [operand for operand in operands(leaf) if isinstance(operand, Column)]
    if not columns:
        raise FilterError("a comparison needs a column", token.position)
    related = {column.path[:-1]: column for column in columns if len(column.path) > 1}
    if len(related) > 1:
        last = list(related.values())[-1]
        raise FilterError("columns of two related rows cannot be compared with each other", last.position)
    return leaf
