# SPDX-License-Identifier: Apache-2.0
"""Tests of drivers; none of them needs a database."""

import pytest

# Before anything imports it: its assertions shall say what differs.
pytest.register_assert_rewrite("tests.drivers.contract", "tests.drivers.confirming")
