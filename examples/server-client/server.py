"""Answers which iris has petals of a given size, until it is told to end (SIGTERM).

It listens on a free port of this machine and says which one in the file `address` of its job's directory. The file
appears whole or not at all: it is written under another name and then renamed.
"""

import http.server
import json
import os
import signal
import sys
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        try:
            length, width = float(query["length"][0]), float(query["width"][0])
        except (KeyError, ValueError):
            self.send_error(400, "expected /?length=CENTIMETRES&width=CENTIMETRES")
            return
        body = json.dumps({"species": species(length, width)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        print(format % arguments, flush=True)


def species(petal_length, petal_width):
    """The two questions that a decision tree of depth two asks about Fisher's irises."""
    if petal_length < 2.45:
        return "setosa"
    return "versicolor" if petal_width < 1.75 else "virginica"


def announce(port):
    path = os.path.join(os.environ["MIZZEN_JOB_DIR"], "address")
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(f"127.0.0.1:{port}\n")
    os.replace(path + ".new", path)


def main():
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        announce(server.server_port)
        print(f"listening on port {server.server_port}", flush=True)
        try:
            server.serve_forever()
        finally:
            print("told to end", flush=True)


if __name__ == "__main__":
    main()
