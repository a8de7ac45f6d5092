# SPDX-License-Identifier: Apache-2.0
"""Device families of the appliance realm: boxes (virtual or physical) that traffic is sent through."""
