# SPDX-License-Identifier: Apache-2.0
"""Bugs that are put in on purpose, to see that the suites bite."""
