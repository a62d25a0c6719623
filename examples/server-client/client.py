"""Asks the server about three flowers. Its argument is the directory of the server's job."""

import argparse
import http.client
import json
import os
import sys
import time

FLOWERS = [(1.4, 0.2), (4.5, 1.4), (5.9, 2.1)]


def wait_for_address(directory, seconds):
    path = os.path.join(directory, "address")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with open(path, encoding="utf-8") as file:
                return file.read().strip()
        except FileNotFoundError:
            time.sleep(0.01)
    sys.exit(f"the server has not written {path} within {seconds:g} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", help="the directory of the server's job")
    parser.add_argument("--patience", type=float, default=20, help="seconds to wait for the server")
    arguments = parser.parse_args()

    address = wait_for_address(arguments.server, arguments.patience)
    print("the server has started", flush=True)
    connection = http.client.HTTPConnection(address, timeout=arguments.patience)
    for length, width in FLOWERS:
        connection.request("GET", f"/?length={length}&width={width}")
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            sys.exit(f"the server answered {response.status}: {answer.decode(errors='replace')}")
        print(f"petals of {length} by {width} cm: {json.loads(answer)['species']}", flush=True)
    connection.close()


if __name__ == "__main__":
    main()
