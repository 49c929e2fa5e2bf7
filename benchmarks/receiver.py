"""A receiver of log records that counts them: python -m benchmarks.receiver prints its URL.

A GET answers what came so far, as JSON.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from testing.fake_sentry.log import FIRST_ID


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    counts: ClassVar[dict[str, int]] = {"requests": 0, "records": 0, "in_order": 0}

    def do_POST(self) -> None:
        """Take a request; the stand-in for Sentry numbers its entries in order."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.counts["requests"] += 1
        for resource_logs in ExportLogsServiceRequest.FromString(body).resource_logs:
            for log_record in resource_logs.scope_logs[0].log_records:
                ids = [one for one in log_record.attributes if one.key == "log.record.uid"]
                expected = str(FIRST_ID + self.counts["records"])
                self.counts["in_order"] += ids[0].value.string_value.endswith(f"/{expected}")
                self.counts["records"] += 1
        self._answer(b"")

    def do_GET(self) -> None:
        """Tell what came."""
        self._answer(json.dumps(self.counts).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


if __name__ == "__main__":
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    sys.stdout.write(f"http://127.0.0.1:{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
