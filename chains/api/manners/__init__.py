# SPDX-License-Identifier: Apache-2.0
"""What every resource of the REST interface does alike: bodies, lists, access, description."""
