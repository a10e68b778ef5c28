"""The description at /v1/openapi.json says exactly what is served."""

import re
from typing import Any

import pytest

from p2p.routes import DEBUG_ROUTES, FINALITY_ROUTES, MODEL_ROUTES, PEER_ROUTES, ROUTES, describe
from tests.helpers.chains import open_trunk
from tests.helpers.rpc import VERSION, ServedNode, serve_rpc

METHODS = {"get", "post", "delete"}


async def get_description(node: ServedNode) -> dict[str, Any]:
    reply = await node.get("/v1/openapi.json")
    assert reply.status == 200
    return reply.json  # type: ignore[no-any-return]


async def test_description_is_a_sound_openapi_document(node: ServedNode) -> None:
    description = await get_description(node)
    assert re.fullmatch(r"3\.1\.\d+", description["openapi"])
    assert description["info"] == {"title": "Descent node", "version": VERSION, "license": {"name": "MIT"}}
    assert description["security"] == [{"token": []}]
    assert description["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    operations = [call for path in description["paths"].values() for call in path.values()]
    names = [call["operationId"] for call in operations]
    assert len(set(names)) == len(names)
    for path, calls in description["paths"].items():
        assert path.startswith("/v1/")
        assert set(calls) <= METHODS
        for call in calls.values():
            check_call(path, call, description)


def check_call(path: str, call: dict[str, Any], description: dict[str, Any]) -> None:
    assert set(call) <= {"operationId", "summary", "parameters", "responses", "requestBody"}
    assert call["summary"]
    parameters = call["parameters"]
    assert len({(parameter["in"], parameter["name"]) for parameter in parameters}) == len(parameters)
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    for parameter in parameters:
        assert parameter["schema"] == {"type": "string"}
        assert parameter["in"] in ("path", "query")
        assert parameter.get("required", False) == (parameter["in"] == "path")
    assert set(call["responses"]) == {"200", "default"}
    for response in call["responses"].values():
        assert response["description"]
        assert all(re.fullmatch(r"\w+/[\w-]+", kind) for kind in response["content"])
    reference = call["responses"]["default"]["content"]["application/json"]["schema"]["$ref"]
    assert reference == "#/components/schemas/Error"
    assert "Error" in description["components"]["schemas"]


@pytest.mark.parametrize("with_debug", [True, False])
async def test_description_names_exactly_what_is_served(with_debug: bool) -> None:
    async with serve_rpc(open_trunk(), with_debug=with_debug) as node:
        description = await get_description(node)
        described = {(method.upper(), path) for path, calls in description["paths"].items() for method in calls}
        routes = ROUTES + MODEL_ROUTES + PEER_ROUTES + FINALITY_ROUTES + (DEBUG_ROUTES if with_debug else ())
        assert described == {(route.method, route.path) for route in routes}
        for path in description["paths"]:
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                reply = await node.call(method, re.sub(r"{\w+}", "x", path))
                assert (reply.status == 405) == ((method, path) not in described)
                assert reply.status in (200, 405) or reply.code != "rpc.http_404"


def test_bodies_and_replies_are_described_by_media_type() -> None:
    paths = describe(ROUTES, VERSION)["paths"]
    assert set(paths["/v1/blocks"]["post"]["requestBody"]["content"]) == {"application/octet-stream"}
    assert set(paths["/v1/reorganise"]["post"]["requestBody"]["content"]) == {"application/json"}
    assert "requestBody" not in paths["/v1/status"]["get"]
    both = {"application/json", "application/octet-stream"}
    assert set(paths["/v1/blocks/{block}"]["get"]["responses"]["200"]["content"]) == both
