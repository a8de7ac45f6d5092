# SPDX-License-Identifier: Apache-2.0
"""A network in a box: namespaces, Open vSwitch and real functions, built from a fabric file.

Only this package may reach into a namespace; everything else uses the lab's management network.
It never imports the domain (`chains`): both read the same fabric file.
"""

from __future__ import annotations

from lab.ground import Support, support
from lab.network import Lab, LabError

__all__ = ["Lab", "LabError", "Support", "support"]
