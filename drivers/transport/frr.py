# SPDX-License-Identifier: Apache-2.0
"""An FRR/Linux router as a box (`drivers.box.Box`): our NAPALM driver with verified log-in and our errors.

Called by `drivers.switch.frr`. Credential: JSON with user, private_key_file (or password), known_hosts_file, port.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from drivers.base import Counter, Rejected, Target
from drivers.box import Agree, Facts
from drivers.introspection import UNVERIFIED
from drivers.transport.napalm_frr import FRRDriver, UnknownHost
from drivers.transport.vendor import Login, is_verified, kinds, login_of, required, ssh_proof


class RouterBox:
    """Counters and links come from the reading that was made last: one round trip."""

    def __init__(self, driver: FRRDriver, target: Target, login: Login) -> None:
        self._login = login
        self._driver = driver
        self._target = target
        self._seen: Mapping[str, Any] = {}

    def running(self) -> str:
        with kinds(self._target, "reading"):
            text: str = self._driver.observed()
        try:
            self._seen = json.loads(text)
        except ValueError as error:
            raise Rejected(
                f"{self._target.name}: it did not answer in JSON; is viaduct_frr installed?"
            ) from error
        return text

    def facts(self) -> Facts:
        with kinds(self._target, "asking who it is"):
            said = self._driver.get_facts()
        return Facts("frr", said["os_version"])

    def proof(self) -> str:
        client = self._driver._client
        transport = client.get_transport() if client else None
        if transport is None:
            return UNVERIFIED
        return ssh_proof(self._login, transport, self._target.management, self._driver.port)

    def startup(self) -> str:
        """What it shows, with FRR's configuration and our table as a restart would bring them."""
        if not self._seen:
            self.running()
        return json.dumps({**self._seen, **self._seen.get("startup", {})})

    def save(self) -> None:
        """A push does it too."""
        with kinds(self._target, "saving"):
            self._driver.run("save")
            self.running()

    def trial(self, native: str, agree: Agree) -> None:
        with kinds(self._target, "trying"):
            try:
                self._driver.load_merge_candidate(config=native)
                agree(self.running(), native, str(self._driver.compare_config()))
            finally:
                self._driver.discard_config()

    def commit(self, native: str, agree: Agree) -> None:
        with kinds(self._target, "writing"):
            try:
                self._driver.load_merge_candidate(config=native)
                agree(self.running(), native, str(self._driver.compare_config()))
                self._driver.commit_config()
            finally:
                self._driver.discard_config()

    def commit_confirmed(self, native: str, label: str, revert_in_s: int, agree: Agree) -> NoReturn:
        raise Rejected(f"{self._target.name}: FRR on Linux takes nothing back by itself")

    def pending(self) -> str:
        return ""

    def confirm(self, label: str, *, is_saved: bool) -> NoReturn:
        raise Rejected(f"{self._target.name}: nothing waits for {label}")

    def cancel(self, label: str) -> NoReturn:
        raise Rejected(f"{self._target.name}: nothing waits for {label}")

    def counters(self) -> Mapping[str, Counter]:
        """Named counters of our table; an entry that drops counts what it stopped."""
        found: dict[str, Counter] = {}
        drops = set()
        for entry in self._seen.get("nft", ()):
            if "counter" in entry:
                one = entry["counter"]
                found[one["name"]] = Counter(one["packets"], one["bytes"])
            elif "rule" in entry and {"drop": None} in entry["rule"]["expr"]:
                drops |= {part["counter"] for part in entry["rule"]["expr"] if "counter" in part}
        return {
            name: Counter(one.packets, one.octets, one.packets if name in drops else 0)
            for name, one in found.items()
        }

    def links_up(self) -> Mapping[str, bool]:
        return {link["ifname"]: "LOWER_UP" in link["flags"] for link in self._seen.get("links", ())}


@contextmanager
def connect(target: Target, timeout_s: float) -> Iterator[RouterBox]:
    """Errors: Transient, Rejected."""
    login = login_of(target)
    options = {
        "port": login.port,
        "key_file": login.private_key_file,
        "known_hosts_file": required(target, login.known_hosts_file, "known_hosts_file"),
        "ssh_strict": is_verified(target),
    }
    driver = FRRDriver(target.management, login.user, login.password, int(timeout_s) or 1, options)
    with kinds(target, "logging in"):
        try:
            driver.open()
        except UnknownHost as error:
            raise Rejected(f"{target.name}: {error}") from error
    try:
        yield RouterBox(driver, target, login)
    finally:
        driver.close()
