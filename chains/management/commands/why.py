# SPDX-License-Identifier: Apache-2.0
"""`manage.py why TENANT/CHAIN`: why the chain runs where it does as things are now, and what would change that."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from chains.engine.why import chain_why
from chains.models import Chain

Json = Mapping[str, Any]


class Command(BaseCommand):
    help = "Place a chain again, without writing anything, and say why each function would run where it would."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("chain", help="TENANT/NAME")

    def handle(self, *args: Any, chain: str, **options: Any) -> None:
        tenant, _, name = chain.partition("/")
        row = Chain.objects.filter(tenant__name=tenant, name=name).first()
        if row is None:
            raise CommandError(f"there is no chain {chain!a}; write it as TENANT/NAME")
        for line in told(chain_why(row)):
            self.stdout.write(line)


def told(why: Json) -> Iterator[str]:
    """A line each."""
    for reason in why["reasons"]:
        yield f"no place: {reason['detail']}"
    yield from (f"  would be enough: {remedy}" for remedy in why["remedies"])
    for hop in why["hops"]:
        yield f"{hop['position'] + 1}. {hop['function']}: {hop['reason']}"
        for candidate in (hop["chosen"], *hop["rejected"]):
            if candidate:
                yield f"   {_candidate(candidate, candidate is hop['chosen'])}"
        yield from (f"   {flip['words']}" for flip in hop["flips"])
    yield from (f"binds: {binding['words']}" for binding in why["bindings"])
    if why["placement"]:
        yield f"cost {_terms(why['placement']['cost'], why['placement']['cost_terms'])}"


def _candidate(candidate: Json, is_chosen: bool) -> str:
    names = ", ".join(candidate["offers"])
    if candidate["excluded"]:
        return f"- {names}: {candidate['excluded']}"
    return f"{'*' if is_chosen else '-'} {names}: {_terms(candidate['cost'], candidate['cost_terms'])}"


def _terms(cost: float, terms: Json) -> str:
    parts = ", ".join(f"{name} {value:g}" for name, value in terms.items() if value)
    return f"{cost:g} ({parts})" if parts else f"{cost:g}"
