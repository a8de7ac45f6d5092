# SPDX-License-Identifier: Apache-2.0
"""Device families of the switch realm: redirection and stateless filters in a switch's tables."""
