# SPDX-License-Identifier: Apache-2.0
"""The host realm: an agent on each host that enforces rule sets where the workload lives."""
