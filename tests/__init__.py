# SPDX-License-Identifier: Apache-2.0
"""The tests. `./run test` runs them; each area has a folder of its own."""
