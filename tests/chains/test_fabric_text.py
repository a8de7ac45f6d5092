# SPDX-License-Identifier: Apache-2.0
"""The fabric file without a database: every fault with its line and fix, canonical text that reads back the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.fabric import schema
from chains.fabric.document import Fabric, canonical
from chains.fabric.load import FabricRefused, read
from chains.fabric.text import text, value, write
from tests.builders import fabric_text, swapped

DEMO = fabric_text()


def faults(*pairs: tuple[str, str]) -> dict[int, list[str]]:
    """Line -> faults of the demo file with texts swapped."""
    return told(swapped(DEMO, *pairs))


def told(source: str) -> dict[int, list[str]]:
    with pytest.raises(FabricRefused) as caught:
        read(source)
    found: dict[int, list[str]] = {}
    for fault in caught.value.faults:
        assert str(fault).isascii() and str(fault).isprintable() and len(str(fault)) < 400
        found.setdefault(fault.line, []).append(str(fault))
    return found


def line_of(part: str, source: str = DEMO) -> int:
    return next(number for number, line in enumerate(source.splitlines(), start=1) if part in line)


SPINE = "{name: spine1, number: 100}"
LINK = '{a: "leaf1:spine1", b: "spine1:leaf1"'
CGN = "device: cgn1, function: cgn"
POOL = "settings: {pool: 198.51.100.0/28"
FW = "device: fw1, function: ngfw, realm: appliance, inside: in, outside: out"
PORT = 'attachments: [{port: "leaf1:a1"}]'
CLIENTS = "{tenant: tenant-a, name: clients, vrf: tenant-a, prefixes: [10.10.1.0/24,"

# (what stands in the file, what is put there, a part of the line of the fault, words of the fault)
WRONG: list[tuple[str, str, str, str]] = [
    ("{name: tenant-a, tag: 101}", "{name: tenant-a, tg: 101}", "tg: 101", "did you mean tag?"),
    ("{name: tenant-a, tag: 101}", "{name: tenant-a}", "- {name: tenant-a}", "needs tag"),
    ("{name: tenant-a, tag: 101}", "{name: tenant-a, tag: 3000}", "tag: 3000", "must be 1 to 2999"),
    ("{name: tenant-a, tag: 101}", "{name: tenant-a, tag: 10}", "tenant-a, tag: 10}", "tag 10 is that of internet"),
    ("{name: tenant-a, tag: 101}", '{name: tenant-a, tag: "101"}', '"101"', "must be a whole number"),
    ("{name: tenant-a, tag: 101}", "{name: tenant-a, tag: 1e2}", "1e2", "must be a whole number"),
    ("{name: tenant-a, tag: 101}", "{name: tenant-a, name: b, tag: 101}", "name: b, tag", "is there twice"),
    ("{name: lab}", "{name: Lab}", "Lab", "is not a name"),
    ("{name: lab}", '{name: "lab\\n"}', "lab\\n", "control"),
    ("{name: lab}", '{name: "l\\u2028b"}', "u2028", "control"),
    ("{name: lab}", '{name: "l\\u202eb"}', "u202e", "invisible"),
    ("{name: lab}", "{name: 7}", "name: 7", "put it in quotes"),
    ("{name: lab}", "{name: }", "name: }", "must be text, not nothing"),
    ("{name: lab}", "{name: [lab]}", "[lab]", "not a list"),
    ("{name: lab}", "lab", "- lab", "must be keys and values"),
    ("{name: lab}", "{name: lab, needs_approval: 1}", "needs_approval", "must be true or false"),
    ("{name: lab}", "{name: lab, changes_at_once: 0}", "changes_at_once", "must be 1 to"),
    ("  - {name: lab}", "  - {name: lab}\n  - {name: lab}", "- {name: lab}", "the name is taken"),
    ("fabric: demo", "fabric: demo\nfabric: other", "fabric: other", "is there twice"),
    ("fabric: demo", "fabrik: demo", "fabrik", "did you mean fabric?"),
    ("management: 10.250.0.0/24", "management: 10.250.0.1/24", "10.250.0.1/24", "write 10.250.0.0/24"),
    ("management: 10.250.0.0/24", "management: 10.250.1.0/24", "10.250.0.11", "outside management"),
    ("management: 10.250.0.12", "management: 10.250.0.11", "bridge: leaf2", "the address of leaf1"),
    ("    kind: appliance\n", "    kind: apliance\n", "apliance", "did you mean appliance?"),
    ("driver: fake-switch\n", "driver: fake-swich\n", "fake-swich", "did you mean fake-switch?"),
    ("driver: fake-switch\n", 'driver: ""\n', 'driver: ""', "a switch needs a driver"),
    ('credential: ""', "credential: hunter2", "credential: hunter2", "never the secret itself"),
    ("site: lab\n", "site: laboratory\n", "laboratory", "there is no site laboratory"),
    (SPINE, "{name: spine1}", "{name: spine1}", "needs its number"),
    (SPINE, "{name: spine1, number: 1}", "{name: spine1, number: 1}", "number 1 is that of a1"),
    (SPINE, "{name: a1, number: 100}", "{name: a1, number: 100}", "the name is taken"),
    (SPINE, "{name: spine1, number: 65280}", "65280", "must be 0 to 65279"),
    (SPINE, '{name: "spine1:x", number: 100}', "spine1:x", "is not a port name"),
    ('mac: "02:00:00:01:01:01"', 'mac: "03:00:00:01:01:01"', "03:00", "multicast"),
    ('mac: "02:00:00:01:01:01"', 'mac: "02-00-00-01-01-01"', "02-00", "is not a MAC address"),
    ('{name: in, mac: "02:00:00:01:01:01"}', "{name: in}", "- {name: in}", "needs its mac"),
    ("addresses: [10.10.1.10/24", "addresses: [10.10.1.10/33", "/33", "is not an address"),
    (LINK, '{a: "leaf1:spine2", b: "spine1:leaf1"', "leaf1:spine2", "no port of leaf1 spine2; did you mean spine1?"),
    (LINK, '{a: "leaf9:spine1", b: "spine1:leaf1"', "leaf9:spine1", "there is no device leaf9"),
    (LINK, '{a: "leaf1", b: "spine1:leaf1"', '{a: "leaf1", b', 'write "device:port"'),
    (LINK, '{a: "leaf1:a1", b: "spine1:leaf1"', '{a: "leaf1:a1", b: "a1', "is in the link of line"),
    (LINK, '{a: "leaf1:spine1", b: "leaf1:b1"', 'b: "leaf1:b1", cap', "from a device to itself"),
    ("capacity_mbps: 10000,", "capacity_mbps: 0,", "capacity_mbps: 0", "must be 1 to"),
    ("mtu_bytes: 9000", "mtu_bytes: 500", "mtu_bytes: 500", "must be 576 to"),
    ("capability: ips", "capability: ids", "capability: ids", "did you mean ips?"),
    (CGN, "device: cgn2, function: cgn", "cgn2, function", "did you mean cgn1?"),
    (CGN, "device: cgn1, function: cng", "function: cng", "did you mean cgn?"),
    ("device: fw2, function", "device: fw1, function", "cost_fixed: 12}", "already an offer"),
    (FW, FW.replace("appliance", "host"), "fw1, function", "kind appliance"),
    (FW, FW.replace("inside: in, ", ""), "fw1, function", "needs inside"),
    (FW, FW.replace("inside: in,", "inside: inn,"), "inside: inn", "did you mean in?"),
    (FW, FW.replace("outside: out", "outside: in"), "outside: in,", "two ports"),
    ("realm: host, capacity", "realm: host, inside: eth0, capacity", "inside: eth0", "only an appliance has inside"),
    ("spine1, function: filter", "spine1, function: ngfw", "spine1, function: ngfw", "cannot realise stateful_filter"),
    (POOL, "settings: {pool: 198.51.100.1/28", "198.51.100.1/28", "host bits zero"),
    (POOL, "settings: {pul: 198.51.100.0/28", "pul:", "there is no setting pul"),
    ('block_size: "256"', 'block_size: "8"', 'block_size: "8"', "must be 16 to"),
    ("cost_fixed: 12}", "cost_fixed: -1}", "cost_fixed: -1", "must be a number"),
    ("cost_fixed: 12}", "cost_fixed: .nan}", ".nan", "must be a number"),
    ("is_shared: true", "is_shared: yes", "is_shared: yes", "must be true or false"),
    (CLIENTS, CLIENTS.replace("tenant: tenant-a,", "tenant: tenant-x,"), "tenant-x", "there is no tenant tenant-x"),
    (CLIENTS, CLIENTS.replace("vrf: tenant-a", "vrf: tenant-z"), "tenant-z", "there is no VRF tenant-z"),
    (CLIENTS, CLIENTS.replace("name: clients", "name: outside"), "a, name: outside", "a segment of the operator"),
    (CLIENTS, CLIENTS.replace("10.10.1.0/24", "10.10.2.0/25"), "name: servers", "10.10.2.0/25 of tenant-a/clients"),
    (CLIENTS, CLIENTS.replace("[10", "[10.10.1.0/25, 10"), "10.10.1.0/25", "keep the wider one"),
    (CLIENTS, CLIENTS.replace("[10", "[10.10.1.0/24, 10"), "10.10.1.0/24, 10", "is there twice"),
    (PORT, "attachments: []", "attachments: []", "at least one attachment"),
    (PORT, 'attachments: [{port: "leaf1:a9"}]', "leaf1:a9", "no port of leaf1 a9"),
    (PORT, 'attachments: [{port: "a1:eth0"}]', '"a1:eth0"}]', "a port of a switch"),
    (PORT, 'attachments: [{port: "leaf1:spine1"}]', '"leaf1:spine1"}]', "no segment lives there"),
    (PORT, 'attachments: [{port: "leaf1:b1"}]', "tenant-b, name: clients", "a port is in one VRF"),
    (PORT, PORT.replace("}", ", prefixes: [10.9.0.0/24]}"), "10.9.0.0/24", "is not part of the segment"),
    ("links:\n", "links: {}\nlnks:\n", "lnks:", "did you mean links?"),
]  # fmt: skip


IDS = [f"{number}-{row[3][:30]}" for number, row in enumerate(WRONG)]


@pytest.mark.parametrize(("old", "new", "part", "words"), WRONG, ids=IDS)
def test_a_fault_is_told_with_its_line_and_fix(old: str, new: str, part: str, words: str) -> None:
    found = faults((old, new))
    number = next((number for number, texts in found.items() if any(words in each for each in texts)), None)
    assert number is not None, found
    lines = swapped(DEMO, (old, new)).splitlines()
    assert part in "\n".join(lines[number - 1 : number + 4]), (number, lines[number - 1])


def test_all_faults_are_told_at_once() -> None:
    found = faults(
        ("{name: tenant-a, tag: 101}", "{name: tenant-a, tag: 10, tg: 7}"),
        ("driver: fake-switch\n", "driver: fake-swich\n"),
        (LINK, '{a: "leaf1:spine2", b: "spine1:leaf1"'),
        ('block_size: "256"', 'block_size: "8"'),
        ("vrf: tenant-b, prefixes", "vrf: tenant-c, prefixes"),
    )
    texts = "\n".join(each for line in found.values() for each in line)
    for words in ("did you mean tag?", "is that of internet", "did you mean fake-switch?", "did you mean spine1?",
                  "must be 16 to", "no VRF tenant-c"):  # fmt: skip
        assert words in texts
    assert len(found) == 5


def test_a_secret_that_stands_where_a_reference_belongs_is_not_repeated() -> None:
    found = faults(('credential: ""', "credential: hunter2"))
    assert not any("hunter2" in each for line in found.values() for each in line)


def test_pools_that_overlap_are_refused() -> None:
    second = (
        "  - {device: ips2, function: cgn, realm: appliance, inside: in, outside: out,\n"
        "     settings: {pool: 198.51.100.8/30}}\n"
    )
    found = told(DEMO.replace("segments:\n", f"{second}segments:\n"))
    (texts,) = found.values()
    assert "overlaps with 198.51.100.0/28 of cgn@cgn1" in texts[0]


NO_FABRIC = {
    "": "empty",
    "\n# nothing\n": "empty",
    "[]": "must be keys and values",
    "7": "must be keys and values",
    "a: [1": "not YAML",
    "\t- x": "not YAML",
    "a: b: c": "not YAML",
    "fabric: \0": "not YAML",
    "fabric: x\n---\nfabric: y": "not YAML",
    "a: *x": "not YAML",
    "!!python/object:os.system {}": "there is no key",
    "[" * 20_000: "nested too deeply",
    "a: " + "{" * 20_000: "nested too deeply",
    "fabric: x\nsites: &s [{name: a}]\ntenants: *s": "is an alias",
    "fabric: x\n<<: {sites: []}": "there is no key '<<'",
    "? {a: b}\n: c": "there is no key keys and values",
    "fabric: x\nsites: !!binary aGVsbG8=": "must be a list",
}


@pytest.mark.parametrize("source", NO_FABRIC, ids=lambda source: ascii(source[:20]))
def test_what_is_no_fabric_file_is_one_clear_line(source: str) -> None:
    if source.startswith("!!python"):
        assert told(source)
        return
    assert any(NO_FABRIC[source] in each for line in told(source).values() for each in line)


def test_a_small_file_cannot_mean_a_huge_one() -> None:
    laughs = ["fabric: x", "sites: &a0 [{name: a}]"]
    laughs += [f"x{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]
    assert told("\n".join(laughs))
    assert told("x" * (schema.nodes.MAX_OCTETS + 1))


def test_canonical_text_reads_back_the_same_and_is_written_the_same() -> None:
    document = read(DEMO)
    written = write(document)
    assert read(written) == document
    assert write(read(written)) == written
    assert len(written) < len(DEMO)


def test_order_and_defaults_in_the_file_do_not_matter() -> None:
    document, faulty = schema.read(DEMO)
    assert document is not None and not faulty
    dice = random.Random(7)

    def shuffled(entries: tuple[object, ...]) -> tuple[object, ...]:
        return tuple(dice.sample(entries, len(entries)))

    sections = ("sites", "vrfs", "devices", "links", "offers", "segments")
    fields = {name: shuffled(getattr(document, name)) for name in sections}
    again = Fabric(
        fabric=document.fabric, management=document.management, tenants=document.tenants,
        functions=document.functions, **fields,  # type: ignore[arg-type]
    )  # fmt: skip
    assert write(again) == write(document)
    assert canonical(again) == canonical(document)
    explicit = (
        ("kind: switch\n", "kind: switch\n    is_enabled: true\n"),
        ("fixed: 12}", "fixed: 12.0, entries: 0}"),
    )
    assert read(swapped(DEMO, *explicit)) == canonical(document)


def test_a_link_written_the_other_way_round_is_the_same_link() -> None:
    turned = swapped(DEMO, (LINK, '{b: "leaf1:spine1", a: "spine1:leaf1"'))
    assert read(turned) == read(DEMO)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_written_so_that_it_reads_back(held: str) -> None:
    """Only printable text gets into a document; what is written must then mean itself in every place."""
    if not held.isprintable():
        return
    source = f"fabric: x\nfunctions:\n  - {{name: f, capability: ips, description: {text(held)}}}\n"
    document, found = schema.read(source)
    assert not found and document is not None and document.functions[0].description == held


WRITTEN = [
    (1.0, "1"),
    (0.1, "0.1"),
    (True, "true"),
    (None, "null"),
    ("no", '"no"'),
    ("1", '"1"'),
    ("a:b", '"a:b"'),
    ("10.0.0.0/8", "10.0.0.0/8"),
    ("2001:db8::/64", '"2001:db8::/64"'),
]


@pytest.mark.parametrize(("held", "written"), WRITTEN)
def test_values_are_written_so_that_every_reader_agrees(held: object, written: str) -> None:
    assert value(held) == written


PIECES = ["{", "}", "[", "]", ": ", "\n", "- ", "&a ", "*a", '"', "null", "!!int ", "0", "-1"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_damaged_file_is_refused_or_read_and_never_breaks(data: st.DataObject) -> None:
    """Cut, doubled, moved and overwritten pieces of a small file: any other exception fails the test."""
    source = write(read(DEMO))[:3000]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(source)))
        length = data.draw(st.integers(0, 40))
        piece = data.draw(st.one_of(st.text(max_size=8), st.sampled_from(PIECES)))
        source = source[:at] + piece + source[at + length :]
    try:
        read(source)
    except FabricRefused as refused:
        assert refused.faults and all(str(fault).isprintable() for fault in refused.faults)
