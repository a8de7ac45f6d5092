# SPDX-License-Identifier: Apache-2.0
"""The REST interface for tenants and operators. Views give shape only: then one service or selector."""
