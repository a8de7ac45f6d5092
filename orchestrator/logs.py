# SPDX-License-Identifier: Apache-2.0
"""Log lines as JSON: a constant message plus key-values (`logger.info("applied", extra={"change": 7})`).

Named by the settings. Must never be given secrets: it does not know which keys hold them.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from orchestrator.requests import current_request_id

# What every record has, so that the rest is what the caller added (logging.LogRecord)
STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "request"}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        request_id = current_request_id()
        if request_id:
            line["request_id"] = request_id
        line |= {key: value for key, value in record.__dict__.items() if key not in STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
