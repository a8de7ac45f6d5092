# SPDX-License-Identifier: Apache-2.0
"""An operator's probes: what the fabric file and the API take, and what devices are then told to ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chains import models, selectors
from chains.errors import Invalid
from chains.fabric import load, schema
from chains.fabric.export import export
from chains.fabric.text import write
from chains.planning.probes import Asked, Place, as_stored, asked, probe_of
from chains.services import inventory
from chains.services.actor import SYSTEM
from drivers.probe import ProbeKind

FABRIC = Path(__file__).resolve().parents[2] / "lab" / "fabrics" / "demo.yaml"
THROUGH = {"kind": "through", "source": "10.10.1.10", "destination": "10.10.2.10", "port": 7}
PLACE = Place("10.0.0.9", ("leaf1", "a"), ("leaf1", "b"), "02:00:00:00:00:0a", "02:00:00:00:00:0b")


def test_a_probe_through_is_asked_by_the_switch_at_both_arms() -> None:
    by, probe = probe_of(asked({**THROUGH, "interval_ms": 100, "fails_over": True}), "o1.0", PLACE)
    assert (by, probe.kind, probe.inside, probe.outside) == ("leaf1", ProbeKind.THROUGH, "a", "b")
    assert (probe.inside_mac, probe.outside_mac, probe.fails_over) == (PLACE.inside_mac, PLACE.outside_mac, True)


def test_what_only_a_worker_reaches_is_asked_at_the_management_address() -> None:
    by, probe = probe_of(asked({"kind": "http", "port": 80, "path": "/health"}), "o1.0", PLACE)
    assert (by, probe.destination, probe.path) == ("", "10.0.0.9", "/health")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"kind": "smoke"}, "kind is one of icmp, tcp, http, through"),
        ({"kind": "tcp", "timeout": 3}, "a probe has no timeout"),
        ({"kind": "tcp", "port": "80"}, "port is not int"),
        ({"kind": "tcp", "port": True}, "port is not int"),
        ({"kind": "tcp"}, "port is 0"),
        ({"kind": "tcp", "port": 80, "destination": "fw1.example"}, "is no address"),
        ({"kind": "icmp", "interval_ms": 100}, "a worker asks once a second at most"),
        ({"kind": "icmp", "by": "a1", "interval_ms": 99}, "interval_ms is 99"),
        ({"kind": "icmp", "by": "a1", "fails_over": True}, "only a probe through"),
        ({**THROUGH, "by": "spine1"}, "leaf1, where its arms are"),
        ({"kind": "through"}, "needs source and destination"),
        ({**THROUGH, "destination": "2001:db8::1"}, "different families"),
        ({"kind": "http", "port": 80, "path": "/a b"}, "has no spaces"),
        ({"kind": "http", "port": 80, "path": "/a\r\nHost: x"}, "has no spaces"),
        (["icmp"], "a probe is an object"),
    ],
)
def test_what_nobody_can_run_is_refused_with_the_cause(entry: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        probe_of(asked(entry), "o1.0", PLACE)


def test_arms_at_two_switches_cannot_be_asked_through() -> None:
    with pytest.raises(ValueError, match="at one switch"):
        probe_of(asked(THROUGH), "o1.0", Place("", ("leaf1", "a"), ("leaf2", "b")))


def test_what_is_stored_says_only_what_differs() -> None:
    assert as_stored(asked({**THROUGH, "rise": 2})) == THROUGH
    assert asked(as_stored(Asked("icmp"))) == Asked("icmp")


# --- the fabric file ------------------------------------------------------------------------

OFFER = "offers:\n"


def with_probes(text: str) -> str:
    """The demo fabric, whose ips@ips1 has these probes and is a last resort."""
    document, faults = schema.read(FABRIC.read_text())
    assert document is not None and not faults
    lines = write(document).splitlines()
    place = next(i for i, line in enumerate(lines) if "device: ips1, function: ips" in line)
    lines[place] = lines[place].replace("device: ips1,", f"device: ips1, is_last_resort: true, probes: {text},")
    return "\n".join(lines) + "\n"


@pytest.mark.django_db
def test_the_file_goes_in_and_comes_out_the_same() -> None:
    text = with_probes(
        "[{kind: through, source: 10.10.1.10, destination: 10.10.2.10, port: 7, interval_ms: 100, fails_over: true}, "
        "{kind: tcp, port: 22, rise: 1}]"
    )
    load.load(text)
    row = models.Offer.objects.get(device__name="ips1")
    assert row.is_last_resort and [one["kind"] for one in row.probes] == ["through", "tcp"]
    assert write(export()) == write(schema.read(text)[0])  # type: ignore[arg-type]
    wanted = selectors.probes_wanted()
    switch = models.Port.objects.get(name="ips1-in").device.name
    assert {by: sorted(held) for by, held in wanted.probes.items()} == {switch: [row.pk], "": [row.pk]}
    assert wanted.probes[switch][row.pk][0].inside == "ips1-in"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{kind: through}]", "needs source and destination"),
        ("[{kind: tcp, by: nobody, port: 80}]", "there is no device nobody"),
        ("[{kind: ping}]", "kind"),
        ("[" + ", ".join(["{kind: icmp}"] * 9) + "]", "8 are enough"),
    ],
)
def test_the_file_is_refused_with_line_and_cause(text: str, said: str) -> None:
    with pytest.raises(Invalid) as refused:
        load.load(with_probes(text))
    assert any(said in error.detail + error.field and "ips" in error.field for error in refused.value.errors)


@pytest.mark.django_db
def test_an_offer_takes_probes_over_the_api_service() -> None:
    load.load(FABRIC.read_text())
    offer = models.Offer.objects.get(device__name="ips1")
    inventory.offer_update(actor=SYSTEM, offer=offer, probes=[THROUGH], is_last_resort=True)
    offer.refresh_from_db()
    assert (offer.probes, offer.is_last_resort) == ([THROUGH], True)
    for bad in ([{"kind": "through"}], "icmp", [{"kind": "icmp", "by": "nobody"}], [{"kind": "icmp"}] * 9):
        with pytest.raises(Invalid):
            inventory.offer_update(actor=SYSTEM, offer=offer, probes=bad)
    offer.refresh_from_db()
    assert offer.probes == [THROUGH]
