# SPDX-License-Identifier: Apache-2.0
"""Bad input of every kind gets a 4xx in the one error shape: never a 500, never something half-written.

The client raises what a view lets through, so an unexpected exception fails the test by itself.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from chains.api.manners.parsers import MAX_BODY_OCTETS
from chains.models import ApiToken, AuditRow, Chain, Outbox, Tenant
from tests.api.test_tenancy import POLICIES, shared_ids
from tests.api.world import World, chain_body, problem

NUL, SURROGATE, BIDI, LINE = "\0", "\ud800", "\u202e", "\u2028"
HUGE = 1 << 70

# Whole bodies, as octets: what a parser meets.
BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b"   ",
    "cut": b'{"name": "web"',
    "trailing comma": b'{"name": "web",}',
    "two values": b"{} {}",
    "comment": b"{} // x",
    "single quotes": b"{'name': 'web'}",
    "not utf-8": b'{"name": "\xff\xfe"}',
    "utf-16": '{"name": "web"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "binary": bytes(range(256)),
    "NaN": b'{"priority": NaN}',
    "Infinity": b'{"priority": -Infinity}',
    "too large a float": b'{"priority": 1e999}',
    "64 bits and more": b'{"priority": 9223372036854775808}',
    "5000 digits": b'{"priority": ' + b"9" * 5000 + b"}",
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "17 levels": b"[" * 17 + b"]" * 17,
    "same name twice": b'{"name": "a", "name": "b"}',
    "NUL escape": b'{"name": "a\\u0000b"}',
    "NUL in a name": b'{"a\\u0000b": 1}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "lone surrogate in a name": b'{"\\udfff": 1}',
    "null": b"null",
    "number": b"7",
    "text": b'"web"',
    "list": b"[]",
    "list of objects": b"[{}]",
    "true": b"true",
    "100,000 names": json.dumps({f"n{index}": 1 for index in range(60_000)}).encode(),
}

# Values that belong nowhere in a chain; each is put in every field.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e308, 65536, 2**31, 2**32, 2**63 - 1, "", " ", "0", "-1", "x" * 64, "x" * 5000,
    "Web", "web\n", "\tweb", "a b", "wéb", BIDI, LINE, "\u200b", "\r\n", "'; DROP TABLE chains_chain; --", "{{ 7*7 }}",
    "${jndi:ldap://x}", "../../etc/passwd", "%00", "!", "end", "nft flush ruleset", "<script>alert(1)</script>",
    [], [[]], [None], [{}], {}, {"": ""}, {"a": {"b": {"c": 1}}}, [1, 2, 3], ["clients"], "clients", "outside",
)  # fmt: skip
FIELDS = (
    "name",
    "description",
    "source",
    "destination",
    "priority",
    "bandwidth_mbps",
    "latency_budget_us",
    "classifiers",
    "hops",
    "unknown",
    "tenant",
)
CLASSIFIER = ("family", "protocol", "source_ports", "destination_ports", "dscp", "unknown")
HOP = ("function", "failure_mode", "policy", "realm", "device", "unknown")
RULE = ("verdict", "protocol", "source", "destination", "source_ports", "destination_ports", "unknown")

PORTS = ("80-", "-80", "80-79", "0x50", "65536", "99999", "8 0", "80,81", "８０", "1-2-3", "+80", "1e3", "٣")
PREFIXES = (
    "10.0.0.1/24",
    "10.0.0.0/33",
    "::/129",
    "1.2.3",
    "010.0.0.0/8",
    "fe80::1%eth0",
    "10.0.0.0/-1",
    "0/0",
)
PATTERNS = (
    {"hex": "zz"},
    {"hex": "abc"},
    {"text": "x"},
    {"text": "a" * 999},
    {"text": "a", "hex": "61"},
    {},
    "x",
)
IDS = (
    "0",
    "-1",
    "01",
    "1.0",
    "1e3",
    "abc",
    "%00",
    "9223372036854775808",
    "9" * 40,
    "1%20",
    "１",
    "null",
    "1;",
    "..",
)
QUERIES = (
    "unknown=1", "limit=0", "limit=-1", "limit=1001", "limit=x", "limit=", "limit=1&limit=2", "limit=９", "limit=1e1",
    "offset=-1", "offset=x", "offset=99999999999999999999", "offset=2147483648", "q=%00", "q=a%00b", f"q={'x' * 256}",
    "ordering=unknown", "ordering=--id", "ordering=tenant__name", "ordering=password", "ordering=%00", "ordering=,",
    "status=nonsense", "id__gt=1", "name__regex=(a%2B)%2B", "format=xml", "format=json", "fields=id", "page=2",
    "%00=1", "%ff=1", "chain=x", "is_open=maybe", "tenant__name=tenant-b", "status__in=ready", "cursor=x",
)  # fmt: skip


def counts() -> tuple[int, ...]:
    return tuple(kind.objects.count() for kind in (Chain, AuditRow, Outbox, Tenant, ApiToken))


def written() -> list[tuple[str, str]]:
    return [key for key in POLICIES if key[1] in ("POST", "PUT", "PATCH", "DELETE") and key[0] != "fabric/"]


def path_of(route: str, ids: dict[str, int]) -> str:
    return route.replace("{id}", str(ids.get(route.split("/")[0], 1)))


def is_refused(response: Any) -> None:
    assert 400 <= response.status_code < 500
    problem(response, response.status_code)


@pytest.fixture
def ids(world: World) -> dict[str, int]:
    chain = world.a.post("chains/", chain_body()).json()["id"]
    plan = world.a.post(f"chains/{chain}/plan/").json()["id"]
    return {"chains": chain, "plans": plan, **shared_ids()}


@pytest.mark.parametrize("name", BODIES)
def test_no_body_breaks_any_write(world: World, ids: dict[str, int], name: str) -> None:
    before = counts()
    for route, method in written():
        if name == "empty" and (method == "DELETE" or route.endswith(("plan/", "apply/", "test-login/"))):
            continue  # these take nothing
        if BODIES[name] in (b"null",) and method == "DELETE":
            continue
        is_refused(world.operator.send(method, path_of(route, ids), BODIES[name]))
    assert counts() == before


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "", "x",
                                  "application/x-www-form-urlencoded", "application/json-patch+json"])  # fmt: skip
def test_only_json_is_taken(world: World, ids: dict[str, int], kind: str) -> None:
    for route, method in written():
        response = world.operator.send(method, path_of(route, ids), b"name=web", content_type=kind)
        assert response.status_code in (415, 400)
        problem(response, response.status_code)
    assert world.a.post(
        "chains/", chain_body("b"), content_type="application/json; charset=utf-8"
    ).status_code in (
        201,
        400,
    )


def test_a_body_that_is_too_large_is_refused(world: World) -> None:
    text = json.dumps(chain_body(description="x" * MAX_BODY_OCTETS)).encode()
    problem(world.a.send("POST", "chains/", text), 413)
    # A length that lies does not help.
    problem(world.a.send("POST", "chains/", text, CONTENT_LENGTH=str(len(text))), 413)
    assert not Chain.objects.exists()


@pytest.mark.parametrize("field", FIELDS)
def test_no_value_breaks_a_chain(world: World, field: str) -> None:
    for value in (*VALUES, HUGE, 2**63):
        try_chain(world, {**chain_body(), field: value})


@pytest.mark.parametrize("field", CLASSIFIER)
def test_no_value_breaks_a_classifier(world: World, field: str) -> None:
    for value in (*VALUES, *PORTS):
        classifier = {**chain_body()["classifiers"][0], field: value}
        try_chain(world, chain_body(classifiers=[classifier]))


@pytest.mark.parametrize("field", HOP)
@pytest.mark.parametrize("function", ["ngfw", "filter", "cgn"])
def test_no_value_breaks_a_hop(world: World, field: str, function: str) -> None:
    for value in VALUES:
        try_chain(world, chain_body(hops=[{"function": function, field: value}]))


@pytest.mark.parametrize("field", RULE)
def test_no_value_breaks_a_rule(world: World, field: str) -> None:
    for value in (*VALUES, *PORTS, *PREFIXES):
        rule = {"verdict": "permit", "protocol": "tcp", field: value}
        try_chain(world, chain_body(hops=[{"function": "ngfw", "policy": {"rules": [rule]}}]))


def test_lists_that_are_too_long_are_refused(world: World) -> None:
    classifier, hop = chain_body()["classifiers"][0], {"function": "ngfw"}
    rule = {"verdict": "permit"}
    for body in (
        chain_body(classifiers=[classifier] * 17),
        chain_body(classifiers=[]),
        chain_body(hops=[hop] * 13),
        chain_body(hops=[]),
        chain_body(hops=[{"function": "ngfw", "policy": {"rules": [rule] * 201}}]),
        chain_body(hops=[{"function": "cgn", "policy": {"patterns": list(PATTERNS)}}]),
    ):
        problem(world.a.post("chains/", body), 400)


@pytest.mark.parametrize("key", IDS)
def test_what_is_no_id_is_no_address(world: World, key: str) -> None:
    for route in sorted({route for route, _ in POLICIES if "{id}" in route}):
        response = world.operator.get(route.replace("{id}", key))
        problem(response, 404)


@pytest.mark.parametrize("query", QUERIES)
def test_no_query_breaks_a_list(world: World, query: str) -> None:
    for route, method in POLICIES:
        if method != "GET" or "{id}" in route:
            continue
        response = world.operator.get(f"{route}?{query}")
        name, _, value = query.partition("=")
        if response.status_code != 200:
            problem(response, 400)
        else:
            assert (name, value) == ("ordering", "tenant__name") or name in (
                "status",
                "chain",
                "is_open",
                "q",
            ), route


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PURGE", "GETT", "PROPFIND", "HEAD"])
def test_methods_that_are_not_there(world: World, method: str) -> None:
    for route in sorted({route for route, _ in POLICIES if "{id}" not in route}):
        response = world.operator.send(method, route)
        if method == "HEAD":
            wanted = 400 if route == "subscribers/" else 200  # which answers a question, and none was put
            wanted = wanted if (route, "GET") in POLICIES else 405
            assert (response.status_code, response.content) == (wanted, b"")
        else:
            problem(response, 405)
            assert response["Allow"]


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "bearer x", "Basic YTpi", "Bearer vdt_", "Bearer \xff\xfe",
                                    "Bearer vdt_0123456789abcdef." + "A" * 43, "Bearer a b c", "Token x", " ",
                                    "Bearer " + "x" * 9000, "Bearer vdt_0123456789abcdef.%00"])  # fmt: skip
def test_tokens_that_are_none(world: World, header: str) -> None:
    response = world.nobody.get("chains/", headers={"Authorization": header})
    problem(response, 401)
    assert header.strip() not in response.content.decode() or len(header.strip()) < 10


@pytest.mark.parametrize(
    "given", ["short", "x" * 65, "a b c d e f g h", "{}{}{}{}{}", "\xe9" * 10, "<script>alert"]
)
def test_a_request_id_that_is_not_well_formed_is_replaced(world: World, given: str) -> None:
    response = world.a.get("me/", headers={"X-Request-ID": given})
    assert response.status_code == 200
    assert response["X-Request-ID"] != given
    assert response["X-Request-ID"].isalnum()


@pytest.mark.parametrize("given", ['"', "W/", '"1-1', "*,*", '"\xff"', "x" * 5000, ",", ""])
def test_entity_tags_that_are_none(world: World, ids: dict[str, int], given: str) -> None:
    response = world.a.patch(f"chains/{ids['chains']}/", {"priority": 9}, headers={"If-Match": given})
    problem(response, 412)


@pytest.mark.parametrize("given", ["-1", "x", "1.5", "9" * 30, "\xb2", " 1", ""])
def test_resume_points_that_are_none(world: World, given: str) -> None:
    problem(world.a.get("changes/1/stream/", headers={"Last-Event-ID": given}), 404)
    response = world.a.get("changes/1/events/", headers={"Last-Event-ID": given})
    problem(response, 404)


# Anything JSON can say, and anything near a chain.
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
near = st.fixed_dictionaries({}, optional={field: anything for field in FIELDS})


@seed(2)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.one_of(near, anything, st.builds(lambda some: {**chain_body(), **some}, near)))
def test_random_bodies(world: World, body: Any) -> None:
    try_chain(world, body)


def test_random_octets(world: World) -> None:
    dice = random.Random(3)
    good = json.dumps(chain_body()).encode()
    for _ in range(150):
        octets = bytearray(good)
        for _ in range(dice.randint(1, 6)):
            place = dice.randrange(len(octets))
            octets[place : place + dice.randint(0, 3)] = dice.randbytes(dice.randint(0, 3))
        check(world, world.a.send("POST", "chains/", bytes(octets)))


def try_chain(world: World, body: Any) -> None:
    check(world, world.a.post("chains/", body), body)


def check(world: World, response: Any, body: Any = None) -> None:
    """Taken whole, or refused and nothing written. What was taken can be read, and goes again."""
    if response.status_code == 201:
        made = response.json()
        url = f"chains/{made['id']}/"
        assert world.a.get(url).json() == made
        assert world.a.delete(url).status_code == 204
        if body is not None:  # nothing is dropped on the way
            assert (made["name"], made["source"]) == (body["name"], body["source"])
            assert [hop["function"] for hop in made["hops"]] == [hop["function"] for hop in body["hops"]]
            assert len(made["classifiers"]) == len(body["classifiers"])
    else:
        is_refused(response)
    assert not Chain.objects.exists()
