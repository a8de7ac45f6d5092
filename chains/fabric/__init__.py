# SPDX-License-Identifier: Apache-2.0
"""The fabric file: read (`nodes`, `schema`), checked (`check`) and written (`text`) without a database.

`load` and `export` bring it to and from the rows. `schema` documents the format, lab/fabrics/demo.yaml shows it.
"""
