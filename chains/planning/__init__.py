# SPDX-License-Identifier: Apache-2.0
"""PURE: from a snapshot to a plan. No Django, clock, randomness, logging or I/O."""
