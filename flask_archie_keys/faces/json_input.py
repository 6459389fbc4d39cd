"""JSON from outside: read strictly, then made into a struct, or refused with the field that is wrong.

Stricter than RFC 8259 asks for, in what readers differ about: a member is there once, text is Unicode without lone
surrogates, numbers are finite.
"""

from __future__ import annotations

import functools
import json
import re
from typing import Any, TypeVar

import msgspec

from ..domain.rules import nearest
from ..errors import BadRequest, FieldError, ValidationFailed

T = TypeVar("T", bound=msgspec.Struct)
_DIGITS_MAX = 400
_AT = re.compile(r"(?P<what>.*) - at `\$(?P<path>.*)`", re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(content: bytes) -> Any:
    """Plain data from a JSON text in UTF-8.

    :raises BadRequest: if it is not one, nests too deeply, or has a member twice, a lone surrogate or a number that is
        not finite.
    """
    try:
        data = json.loads(
            content.decode(),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_number,
        )
        _plain_text(data)
        return data
    except UnicodeDecodeError:
        raise BadRequest("the body is not UTF-8") from None
    except RecursionError:
        raise BadRequest("the body nests too deeply") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadRequest("the body has an object with the same member twice")
    for name, value in pairs:
        _plain_text(name)
        _plain_text(value)
    return members


def _plain_text(value: object) -> None:
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BadRequest("the body has a lone surrogate, which is no character")
    elif isinstance(value, list):
        for item in value:
            _plain_text(item)


def _no_constant(name: str) -> Any:
    raise BadRequest(f"the body has {name}, which is not JSON")


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise BadRequest("the body has a number that is too long")
    return int(digits)


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BadRequest("the body has a number that is too large")
    return number


def convert(data: Any, to: type[T], read_only: frozenset[str] = frozenset()) -> T:
    """A struct of plain data.

    :param read_only: members that are known and cannot be given.
    :raises ValidationFailed: naming the member that is unknown, missing or has another type.
    """
    if not isinstance(data, dict):
        raise ValidationFailed.one("", "type", "must be an object")
    known = _members(to)
    wrong = [_unknown(name, known, read_only) for name in data if name not in known]
    if wrong:
        raise ValidationFailed(wrong, as_given=True)
    try:
        return msgspec.convert(data, to)
    except msgspec.ValidationError as error:
        raise ValidationFailed([_refused(str(error))], as_given=True) from None


@functools.cache
def _members(of: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(field.encode_name for field in msgspec.structs.fields(of))


def _unknown(name: str, known: tuple[str, ...], read_only: frozenset[str]) -> FieldError:
    if name in read_only:
        return FieldError(name, "read_only", "cannot be given")
    return FieldError(name[:100], "unknown", f"is no member here{nearest(name[:100], known)}")


_MISSING = re.compile(r"Object missing required field `(.*)`")
_EXTRA = re.compile(r"Object contains unknown field `(.*)`")
_TYPE = re.compile(r"Expected `(.*)`, got `(.*)`")


def _refused(message: str) -> FieldError:
    """A message of msgspec, which ends in the path of the value, as a refused field."""
    found = _AT.fullmatch(message)
    what, path = (found["what"], found["path"].lstrip(".").partition("[...]")[0]) if found else (message, "")
    for pattern, rule, sentence in ((_MISSING, "required", "must be given"), (_EXTRA, "unknown", "is no member here")):
        member = pattern.fullmatch(what)
        if member:
            return FieldError(f"{path}.{member[1]}" if path else member[1], rule, sentence)
    types = _TYPE.fullmatch(what)
    if types:
        wanted = " or ".join(_WORDS.get(name, name) for name in types[1].split(" | "))
        return FieldError(path, "type", f"must be {wanted}, not {_WORDS.get(types[2], types[2])}")
    return FieldError(path, "value", what[:1].lower() + what[1:])


_WORDS = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "datetime": "a time in ISO 8601",
}
