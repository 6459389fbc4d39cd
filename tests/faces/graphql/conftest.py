from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ...conftest import MakeHost
from ..api.conftest import ROLES, Api

PATH = "/archie/v1/graphql"
CREATE = "mutation Create($input: NewApiKey!) { createApiKey(input: $input) { secret apiKey { id name roles } } }"


class GraphQL(Api):
    """A host with both faces, asked with the key of an administrator unless another one is named."""

    def send(self, body: Any, **kwargs: Any) -> Any:
        """The response to a body."""
        return self.post("/graphql", body, **kwargs)

    def answer(self, query: str, key: str = "admin", **variables: Any) -> Any:
        """The document that answers a query; it was executed."""
        answer = self.send({"query": query, "variables": variables}, key=key)
        assert answer.status_code == 200, answer.text
        assert (answer.content_type, answer.headers["Cache-Control"]) == ("application/json", "no-store")
        return answer.json

    def data(self, query: str, key: str = "admin", **variables: Any) -> Any:
        """The data of the only field that is asked for, where there is no error."""
        answer = self.answer(query, key, **variables)
        assert list(answer) == ["data"], answer
        (value,) = answer["data"].values()
        return value

    def error(self, query: str, key: str = "admin", **variables: Any) -> Any:
        """The problem of the only field that is asked for."""
        answer = self.answer(query, key, **variables)
        (field, value), (error,) = *answer["data"].items(), answer["errors"]
        assert value is None and error["path"] == [field] and error["locations"]
        assert error["message"] == error["extensions"]["detail"]
        return error["extensions"]


MakeGraphQL = Callable[..., GraphQL]


@pytest.fixture
def make_graphql(make_host: MakeHost) -> MakeGraphQL:
    def make(url: str | None = None, **config: Any) -> GraphQL:
        faces = {"ARCHIE_KEYS_FACES": ("api", "graphql")}
        return GraphQL(make_host(url, **{"ARCHIE_KEYS_ROLES": ROLES, **faces, **config}))

    return make


@pytest.fixture
def graphql(make_graphql: MakeGraphQL) -> GraphQL:
    return make_graphql()
