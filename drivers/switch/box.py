# SPDX-License-Identifier: Apache-2.0
"""The session that switches have in common with vendors' appliances, under its name among switches."""

from drivers.box import LABEL, MAX_REVERT_S, Box, BoxSession, Facts, Reading, Syntax

__all__ = ["LABEL", "MAX_REVERT_S", "Box", "BoxSession", "Facts", "Reading", "Syntax"]
