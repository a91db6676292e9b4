# SPDX-License-Identifier: Apache-2.0
"""python3 -m diff: random configurations from a seed, or one of them again (see `make diff`)."""

import argparse
import secrets
import sys
import time

from .run import Harness


def arguments():
    parser = argparse.ArgumentParser(prog="python3 -m diff", description="weir against the real iptables, configuration by configuration")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--configs", type=int, default=1000, help="how many, from index 0 on")
    parser.add_argument("--index", type=int, help="this configuration alone")
    parser.add_argument("--probes", type=int, default=150, help="in each configuration")
    parser.add_argument("--most", type=int, default=40, help="differences to print")
    return parser.parse_args()


def main():
    args = arguments()
    print(f"seed {args.seed} (again: make diff SEED={args.seed}; one alone: INDEX=n)", flush=True)
    indices = range(args.configs) if args.index is None else [args.index]
    began = time.monotonic()
    with Harness() as harness:
        for done, index in enumerate(indices, 1):
            harness.random(args.seed, index, args.probes)
            if done % 100 == 0:
                print(f"{time.monotonic() - began:.0f} s: {harness.books.summary()}", flush=True)
        print(harness.books.failures(args.most))
        print(f"{harness.books.summary()}\n{time.monotonic() - began:.0f} s")
        return bool(harness.books.differences or harness.books.contradictions)


sys.exit(main())
