"""Takes one export of traces over OTLP, says what it read, and ends. Writes its port to the file that it is given."""
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        request = otlp.ExportTraceServiceRequest.FromString(body)
        spans = [span for of in request.resource_spans for scope in of.scope_spans for span in scope.spans]
        roots = [span for span in spans if not span.parent_span_id]
        assert self.path == "/v1/traces" and roots and all(len(span.trace_id) == 16 for span in spans)
        print(f"{len(roots)} traces, {len(spans)} spans:", ", ".join(sorted({span.name for span in spans})))
        answer = otlp.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
with open(sys.argv[1], "w") as place:
    place.write(f"{server.server_port}\n")
server.handle_request()
