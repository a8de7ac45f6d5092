# SPDX-License-Identifier: Apache-2.0
"""`python -m frontend.cli`, called by ./run viaduct."""

from __future__ import annotations

import sys

from frontend.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
