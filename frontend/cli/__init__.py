# SPDX-License-Identifier: Apache-2.0
"""The command line `viaduct`: what people and pipelines ask of the REST interface, and nothing that it cannot do.

Runs far from the server, so it imports neither Django nor the domain. `app` has the commands, `rest` the wire,
`account` who one is, `printing` what is shown, `files` chains as text. Exit codes: see `printing`.
"""
