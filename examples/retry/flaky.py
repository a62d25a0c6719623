"""Fails until its attempt has reached a given number, as jobs do whose data server has a bad morning."""

import argparse
import os
import sys


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--succeeds-at", type=int, default=3, help="the first attempt that succeeds")
    arguments = parser.parse_args()

    attempt = int(os.environ["MIZZEN_ATTEMPT"])
    print(f"attempt {attempt}: asking for the data", flush=True)
    if attempt < arguments.succeeds_at:
        sys.exit(f"attempt {attempt}: the data server does not answer")
    print(f"attempt {attempt}: got it", flush=True)


if __name__ == "__main__":
    main()
