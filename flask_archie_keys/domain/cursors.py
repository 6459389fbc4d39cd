"""Positions in a list, signed, so that a cursor of another project, environment or list is worthless."""

from __future__ import annotations

from collections.abc import Sequence

from itsdangerous import BadData, URLSafeSerializer

from ..errors import BadRequest


class Cursors:
    """Makes and reads the cursors of one project and environment.

    :param secret: what they are signed with. A cursor only ever picks a place in what its caller may list anyway.
    """

    def __init__(self, secret: str, project: str, environment: str) -> None:
        self._serializer = URLSafeSerializer(secret or "-", salt=f"flask_archie_keys cursor\0{project}\0{environment}")

    def dump(self, of: str, position: Sequence[str | int]) -> str:
        """The cursor of a position in the list ``of``."""
        text = self._serializer.dumps([of, *position])
        return text.decode() if isinstance(text, bytes) else text

    def load(self, of: str, cursor: object, types: Sequence[type]) -> tuple[str | int, ...]:
        """The position, whose parts have ``types``.

        :raises BadRequest: if it is not a cursor of this list.
        """
        try:
            value = self._serializer.loads(cursor) if isinstance(cursor, str) else None
        except (BadData, UnicodeError):
            value = None
        if isinstance(value, list) and len(value) == len(types) + 1 and value[0] == of:
            position = tuple(value[1:])
            if all(type(part) is type_ for part, type_ in zip(position, types, strict=True)):
                return position
        raise BadRequest("cursor is not one that this list has handed out")
