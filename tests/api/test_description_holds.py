# SPDX-License-Identifier: Apache-2.0
"""The interface against its own description: generated requests, good and bad, and what may come back.

Ids in paths are half of the time those of objects that exist, so that more than "not found" is tried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from tests.api.test_tenancy import make_objects, shared_ids
from tests.api.world import World

EXAMPLES = 7
# What does not fit: our 405 is checked by hand, and a query may be refused for reasons that no schema can say.
NOT_CHECKED = ("unsupported_method", "positive_data_acceptance", "missing_required_header", "ignored_auth")


@pytest.fixture
def application(db: None) -> Iterator[WSGIHandler]:
    """The real application; it must not close the connection that holds the test's transaction."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield WSGIHandler()
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.slow
@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value
)
def test_every_operation_keeps_its_word(application: WSGIHandler, world: World, mode: GenerationMode) -> None:
    ids = {**shared_ids(), **make_objects(world.tenant_a, "word")}
    headers = {"Authorization": f"Bearer {world.operator.token}"}
    schema = schemathesis.openapi.from_wsgi("/api/schema/", application)
    tried, answers = [], Counter[int]()
    for found in schema.get_all_operations():
        operation = found.ok()
        if not operation.path.startswith("/api/v1/") or operation.path.endswith("/stream/"):
            continue

        @seed(7)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy(generation_mode=mode), is_real=st.booleans())
        def keeps_its_word(case: Any, is_real: bool) -> None:
            part = case.operation.path.split("/")[3]
            if is_real and part in ids and isinstance(case.path_parameters.get("id"), int):
                case.path_parameters["id"] = ids[part]
            if part == "tokens" and case.method == "DELETE":
                return  # could revoke the caller's own
            checks = [check for check in CHECKS.get_all() if check.__name__ not in NOT_CHECKED]
            answers[case.call_and_validate(headers=headers, checks=checks).status_code // 100] += 1

        keeps_its_word()
        tried.append(operation.label)
    assert len(tried) > 35
    assert answers[5] == 0
    # Both kinds of answers are really met.
    assert answers[2 if mode is GenerationMode.POSITIVE else 4] > 80, answers
