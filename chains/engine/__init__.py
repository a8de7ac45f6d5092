# SPDX-License-Identifier: Apache-2.0
"""The only orchestration: plan, reconcile, observe, converge. Called by tasks; writes by services.record."""
