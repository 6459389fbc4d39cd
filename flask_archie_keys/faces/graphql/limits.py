"""How big a GraphQL document may be.

It is measured before it is validated, because validation itself can be made to take long. A fragment counts as often as
it is spread, so there is no way to ask for more than what was counted.
"""

from __future__ import annotations

from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from ...errors import BadRequest

#: The longest document, in characters. What is long belongs into variables.
LENGTH_MAX = 20_000
#: The most tokens of a document.
TOKENS_MAX = 2_000
#: The most operations of a document; one of them is executed.
OPERATIONS_MAX = 10
#: The most queries or changes of one operation.
CALLS_MAX = 10
#: How deep fields may nest. Ours nest four deep; what tools ask to know the schema nests 15 deep.
DEPTH_MAX = 16
#: The most fields and fragments of a document.
SELECTIONS_MAX = 500
#: The most fragments that a document defines.
FRAGMENTS_MAX = 20
#: The most fields with a name of the caller's own.
ALIASES_MAX = 30
#: The most fields that are merged with another one of the same name.
REPEATS_MAX = 30
#: The most values in the variables, those inside of others included. The largest role takes some 1 400.
VALUES_MAX = 10_000
#: Lists of fields or types: inside of one another they would multiply.
_TYPE_LISTS = frozenset(("fields", "inputFields", "interfaces", "possibleTypes"))
_LIMITS = {"fields and fragments": SELECTIONS_MAX, "aliases": ALIASES_MAX, "repeated fields": REPEATS_MAX}
_INTROSPECTION = frozenset(("__schema", "__type"))


def check(document: DocumentNode, *, introspection: bool) -> None:
    """Refuse a document that is too big.

    :param introspection: whether it may ask for the schema.
    :raises BadRequest: naming the limit.
    """
    _Walk(document, introspection).run()


def check_variables(variables: dict[str, Any]) -> None:
    """Refuse variables that are too many to be looked at one by one.

    :raises BadRequest: naming the limit.
    """
    left = VALUES_MAX
    waiting: list[Any] = [variables]
    while waiting:
        value = waiting.pop()
        members = value.values() if isinstance(value, dict) else value
        left -= len(members)
        if left < 0:
            raise BadRequest(f"the variables have more than {VALUES_MAX} values")
        waiting += [member for member in members if isinstance(member, (dict, list))]


class _Walk:
    """A walk over a document as it would be executed: fragments in place, fields of one name merged."""

    def __init__(self, document: DocumentNode, introspection: bool) -> None:
        self._operations = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        fragments = [node for node in document.definitions if isinstance(node, FragmentDefinitionNode)]
        self._fragments = {node.name.value: node for node in fragments}
        self._introspection = introspection
        self._left = dict(_LIMITS)
        self._reached: set[str] = set()
        if len(self._operations) > OPERATIONS_MAX:
            raise _too_many(OPERATIONS_MAX, "operations")
        if len(fragments) > FRAGMENTS_MAX:
            raise _too_many(FRAGMENTS_MAX, "fragments")
        if len(self._fragments) < len(fragments):  # validation would look at both
            raise BadRequest("the document has two fragments of the same name")

    def run(self) -> None:
        for operation in self._operations:
            calls = self._level([operation.selection_set])
            if calls > CALLS_MAX:
                raise _too_many(CALLS_MAX, "queries or changes in one operation")
        for name, fragment in self._fragments.items():
            if name not in self._reached:  # to be refused, but looked at by validation first
                self._level([fragment.selection_set])

    def _level(self, sets: list[SelectionSetNode], depth: int = 1, within: str = "") -> int:
        """Walk over what stands side by side, and what is below; gives how many answers there are in it."""
        if depth > DEPTH_MAX:
            raise BadRequest(f"the document nests more than {DEPTH_MAX} levels deep")
        found: dict[str, list[FieldNode]] = {}
        for selections in sets:
            self._collect(selections, found, ())
        for nodes in found.values():
            self._spend("repeated fields", len(nodes) - 1)
            entered = self._entered(nodes, within)
            below = [node.selection_set for node in nodes if node.selection_set is not None]
            if below:
                self._level(below, depth + 1, entered)
        return len(found)

    def _collect(
        self, selections: SelectionSetNode, found: dict[str, list[FieldNode]], spread: tuple[str, ...]
    ) -> None:
        for node in selections.selections:
            self._spend("fields and fragments")
            if isinstance(node, FieldNode):
                self._spend("aliases", 0 if node.alias is None else 1)
                found.setdefault((node.alias or node.name).value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                self._collect(node.selection_set, found, spread)
            elif isinstance(node, FragmentSpreadNode):
                self._spread(node.name.value, found, spread)

    def _spread(self, name: str, found: dict[str, list[FieldNode]], spread: tuple[str, ...]) -> None:
        if name in spread:
            raise BadRequest("the document has a fragment that spreads itself")
        self._reached.add(name)
        if name in self._fragments:  # validation names one that there is not
            self._collect(self._fragments[name].selection_set, found, (*spread, name))

    def _entered(self, nodes: list[FieldNode], within: str) -> str:
        """What of the schema is asked for in a field, if any: ``"schema"``, or ``"list"`` in a list of types."""
        names = {node.name.value for node in nodes}
        if names & _INTROSPECTION and not self._introspection:
            raise BadRequest("introspection is off; the schema is in the documentation of flask-archie-keys")
        if not within and not names & _INTROSPECTION:
            return ""
        if any(node.alias is not None for node in nodes):
            raise BadRequest("introspection takes no aliases")
        lists = sorted(names & _TYPE_LISTS)
        if lists and within == "list":
            raise BadRequest(f"introspection of {lists[0]} inside of another list of types would be too much")
        return "list" if lists or within == "list" else "schema"

    def _spend(self, what: str, cost: int = 1) -> None:
        self._left[what] -= cost
        if self._left[what] < 0:
            raise _too_many(_LIMITS[what], what)


def _too_many(limit: int, what: str) -> BadRequest:
    return BadRequest(f"the document has more than {limit} {what}")
