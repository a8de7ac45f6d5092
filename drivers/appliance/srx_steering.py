# SPDX-License-Identifier: Apache-2.0
"""Where an SRX sends packets: filter-based forwarding of our own (setting `steers`), and what its routes must say.

Called by `srx`. Pure. What enters inside and an item means is looked up in a forwarding instance of the outside port,
whose only route leads to the address behind it: a next hop that is gone drops. Replies follow the session, which asks
the routes for the way back: so the source must be routed inside, steered or not. Routes are judged by the
configuration alone (connected subnets and static routes); where a routing protocol runs they are not judged at all.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping

from drivers.appliance.policy import misled
from drivers.appliance.srx_text import PROTOCOLS, interface_of, name_of
from drivers.appliance.steering import hop_behind, is_steering
from drivers.base import Target, Unsupported
from drivers.narrow import intersection
from drivers.state import ANY_PORT, DeviceState, Key, Match, RuleSet

OPEN, NEIGHBOURS = "SI-open", "SI-neighbours"
FAMILY = {4: "inet", 6: "inet6"}
HALVES = {4: ("0.0.0.0/1", "128.0.0.0/1", "0.0.0.0/0"), 6: ("::/1", "8000::/1", "::/0")}
# RFC 4861: routers and their neighbours find each other by these, which are never redirected.
ON_LINK, DISCOVERY = ("fe80::/10", "ff02::/16"), (133, 134, 135, 136)
# RFC 5737, RFC 3849.
NOBODYS = tuple(
    map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)
PORT = re.compile(r"[a-z0-9][a-z0-9-]{0,23}")
STEERING = re.compile(r"(?:firewall|interfaces|policy-options|routing-instances) ")
_UNIT = r"(?:\S+ unit \d{1,5})"
LINES = tuple(
    re.compile(text)
    for text in (
        rf"firewall family inet6? filter SI-f-\S+-[46] term (?:SI-c\S+|{NEIGHBOURS}) from (?:source-address|"
        r"destination-address|protocol|next-header|source-port|destination-port|icmp-type) [0-9a-z.:/-]+",
        r"firewall family inet6? filter SI-f-\S+-[46] term SI-\S+ then (?:accept|routing-instance SI-h-\S+)",
        rf"interfaces {_UNIT} family inet6? filter input-list SI-f-\S+-[46]",
        r"policy-options policy-statement SI-h-\S+ term connected (?:from (?:instance|interface) \S+|"
        r"from protocol direct|then accept)",
        r"policy-options policy-statement SI-h-\S+ then reject",
        r"routing-instances SI-h-\S+ (?:instance-type forwarding|routing-options instance-import SI-h-\S+)",
        r"routing-instances SI-h-\S+ routing-options (?:rib SI-h-\S+\.inet6\.0 )?static route \S+ "
        r"(?:next-hop [0-9a-f.:]+|discard)",
    )
)
_FILTERED = re.compile(rf"interfaces ({_UNIT} family inet6?) filter input(?:-list)? .*")
_ADDRESS = re.compile(r"interfaces (\S+) unit (\d{1,5}) family inet6? address (\S+).*")
_STATIC = re.compile(
    r"(?:routing-instances (\S+) )?routing-options (?:rib \S*inet6\.0 )?static route (\S+) (next-hop (\S+)|.*)"
)
_MEMBER = re.compile(r"routing-instances (\S+) interface (\S+)")
_LEARNT = re.compile(r"(?:routing-instances \S+ )?protocols (?:bgp|ospf3?|isis|rip|ripng) .*")


def text_of(state: DeviceState, target: Target) -> tuple[str, ...]:
    """The lines that steer, in a fixed order; none without the setting. Errors: Unsupported."""
    if not is_steering(target):
        return ()
    items = {key: item for key, item in state.items() if isinstance(item, RuleSet)}
    _agree(items, target)
    hops = {
        (item.outside, item.traffic.family): hop_behind(target, item.outside, item.traffic.family)
        for item in items.values()
    }
    return (*_filters(items, target), *_policies(hops, target), *_instances(hops))


def _agree(items: Mapping[Key, RuleSet], target: Target) -> None:
    """The first term that matches decides: no two may lead the same packet two ways."""
    for key, item in items.items():
        for other, one in items.items():
            is_split = other < key and one.inside == item.inside and one.outside != item.outside
            if is_split and intersection(one.traffic, item.traffic) is not None:
                said = f"{other} and {key} would send the same packets two ways"
                raise Unsupported(f"{target.name}: {said}; give one of the chains another appliance")


def _filters(items: Mapping[Key, RuleSet], target: Target) -> Iterator[str]:
    places = sorted({(item.inside, item.traffic.family) for item in items.values()})
    for port, family in places:
        if not PORT.fullmatch(port):
            raise Unsupported(f"{target.name}: port {port!r} cannot be in a filter's name: letters, digits and -")
        root = f"firewall family {FAMILY[family]} filter SI-f-{port}-{family}"
        if family == 6:
            yield from (f"{root} term {NEIGHBOURS} {line}" for line in _neighbours(port, target))
        for key, item in items.items():
            if (item.inside, item.traffic.family) == (port, family):
                yield from (f"{root} term {name_of(key)} from {line}" for line in _from(item.traffic))
                yield f"{root} term {name_of(key)} then routing-instance {_instance(item.outside, target)}"
        yield f"{root} term {OPEN} then accept"
    for port, family in places:
        name, _, unit = interface_of(target, port).partition(".")
        yield f"interfaces {name} unit {unit} family {FAMILY[family]} filter input-list SI-f-{port}-{family}"


def _instance(port: str, target: Target) -> str:
    if not PORT.fullmatch(port):
        raise Unsupported(f"{target.name}: port {port!r} cannot be in an instance's name: letters, digits and -")
    return f"SI-h-{port}"


def _neighbours(port: str, target: Target) -> Iterator[str]:
    here = (ipaddress.ip_interface(text).ip for text in target.ports[port].addresses)
    for prefix in (*ON_LINK, *(f"{one}/128" for one in here if one.version == 6)):
        yield f"from destination-address {prefix}"
    yield "from next-header icmp6"
    yield from (f"from icmp-type {number}" for number in DISCOVERY)
    yield "then accept"


def _from(match: Match) -> Iterator[str]:
    for keyword, prefix in (("source-address", match.source), ("destination-address", match.destination)):
        if not prefix.endswith("/0"):
            yield f"{keyword} {prefix}"
    if match.protocol:
        yield f"{'protocol' if match.family == 4 else 'next-header'} {PROTOCOLS[match.protocol]}"
    for keyword, (low, high) in (
        ("source-port", match.source_ports), ("destination-port", match.destination_ports),
    ):  # fmt: skip
        if (low, high) != ANY_PORT:
            yield f"{keyword} {low if low == high else f'{low}-{high}'}"


def _policies(hops: Mapping[tuple[str, int], str], target: Target) -> Iterator[str]:
    """The instance learns the next hop's own subnet, so that no statement of the operator's is touched."""
    for port in sorted({port for port, _ in hops}):
        root = f"policy-options policy-statement {_instance(port, target)}"
        yield f"{root} term connected from instance {target.ports[port].vrf or 'master'}"
        yield f"{root} term connected from protocol direct"
        yield f"{root} term connected from interface {interface_of(target, port)}"
        yield f"{root} term connected then accept"
        yield f"{root} then reject"


def _instances(hops: Mapping[tuple[str, int], str]) -> Iterator[str]:
    for port in sorted({port for port, _ in hops}):
        root = f"routing-instances SI-h-{port}"
        yield f"{root} instance-type forwarding"
        yield f"{root} routing-options instance-import SI-h-{port}"
        for family in (4, 6):
            if hop := hops.get((port, family)):
                rib = "" if family == 4 else f" rib SI-h-{port}.inet6.0"
                *halves, whole = HALVES[family]
                yield from (f"{root} routing-options{rib} static route {half} next-hop {hop}" for half in halves)
                yield f"{root} routing-options{rib} static route {whole} discard"


def is_same(box: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    """The same lines, and the terms of every filter in the same order."""
    return set(box) == set(wanted) and _terms(box) == _terms(wanted)


def _terms(lines: tuple[str, ...]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.startswith("firewall "):
            name, _, rest = line.partition(" term ")
            found.setdefault(name, {})[rest.split(" ")[0]] = None
    return {name: list(terms) for name, terms in found.items()}


def in_the_way(others: tuple[str, ...], body: tuple[str, ...]) -> Iterator[str]:
    """The operator's filters where ours would be, and what is called as ours."""
    ours = {found[1] for line in body if (found := _FILTERED.fullmatch(line))}
    for line in others:
        found = _FILTERED.fullmatch(line)
        if (found and found[1] in ours) or re.search(r" SI-[fh]-\S+", line):
            yield line


# --- routes -----------------------------------------------------------------------------------


def misrouted(others: tuple[str, ...], item: RuleSet, target: Target) -> Iterator[str]:
    """What the routes lack for this item, each with the exact line to add."""
    if any(_LEARNT.fullmatch(line) for line in others):
        return
    inside, outside, family = item.inside, item.outside, item.traffic.family
    wanted = [(item.traffic.source, inside)]
    if not is_steering(target):
        wanted.append((item.traffic.destination, outside))
    for prefix, port in wanted:
        if _is_nobodys(prefix):
            continue
        interface, vrf = interface_of(target, port), _vrf_of(others, interface_of(target, port))
        routes = tuple(_routes(others, vrf))
        for wrong in misled(prefix, interface, routes):
            yield f"{wrong.removesuffix('; add a route there')}: {_route_line(vrf, prefix, port, target)}"
    if is_steering(target):
        yield from _hop_there(others, outside, family, target)


def _is_nobodys(prefix: str) -> bool:
    """A trial (`run live`) writes rules for addresses that nobody has, and that are routed nowhere."""
    network = ipaddress.ip_network(prefix)
    return any(network.version == one.version and network.subnet_of(one) for one in NOBODYS)  # type: ignore[arg-type]


def _hop_there(others: tuple[str, ...], port: str, family: int, target: Target) -> Iterator[str]:
    interface, hop = interface_of(target, port), ipaddress.ip_address(hop_behind(target, port, family))
    name, _, unit = interface.partition(".")
    if (actual := _vrf_of(others, interface)) != target.ports[port].vrf:
        yield f"port {port} is in routing instance {actual or 'master'}: say so by its `vrf` in the fabric file"
    if not any(there == interface and hop in network for network, there in _connected(others)):
        length = 24 if family == 4 else 64
        line = f"set interfaces {name} unit {unit} family {FAMILY[family]} address ADDRESS/{length}"
        yield f"{hop}, which is behind port {port}, is in no subnet of {interface}: {line}"


def _route_line(vrf: str, prefix: str, port: str, target: Target) -> str:
    family = ipaddress.ip_network(prefix).version
    known = (ipaddress.ip_interface(text).ip for text in target.ports[port].peer_addresses)
    hop = next((str(one) for one in known if one.version == family), f"ADDRESS-BEHIND-{port}")
    root = f"routing-instances {vrf} routing-options" if vrf else "routing-options"
    rib = "" if family == 4 else f" rib {vrf + '.' if vrf else ''}inet6.0"
    return f"set {root}{rib} static route {prefix} next-hop {hop}"


def _vrf_of(others: tuple[str, ...], interface: str) -> str:
    return next((found[1] for line in others if (found := _MEMBER.fullmatch(line)) and found[2] == interface), "")


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _connected(others: tuple[str, ...]) -> Iterator[tuple[Network, str]]:
    for line in others:
        if found := _ADDRESS.fullmatch(line):
            yield ipaddress.ip_interface(found[3]).network, f"{found[1]}.{found[2]}"


def _routes(others: tuple[str, ...], vrf: str) -> Iterator[tuple[str, str]]:
    connected = [(network, there) for network, there in _connected(others) if _vrf_of(others, there) == vrf]
    yield from ((str(network), there) for network, there in connected)
    for line in others:
        found = _STATIC.fullmatch(line)
        if found and (found[1] or "") == vrf:
            yield found[2], next((there for network, there in connected if _holds(network, found[4])), "nowhere")


def _holds(network: Network, hop: str | None) -> bool:
    try:
        return hop is not None and ipaddress.ip_address(hop) in network
    except ValueError:
        return False  # an interface's name
