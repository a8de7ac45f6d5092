# SPDX-License-Identifier: Apache-2.0
"""The part of the FRR driver that runs on the router. It imports nothing of ours but itself."""
