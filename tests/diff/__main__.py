# SPDX-License-Identifier: Apache-2.0
"""python3 -m diff: random configurations from a seed, or one of them again (see `make diff` and `make nightly`)."""

import argparse
import secrets
import signal
import sys

from .crew import Crew


def arguments():
    parser = argparse.ArgumentParser(prog="python3 -m diff", description="weir against the real iptables, configuration by configuration")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--configs", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="index of the first one: to go on after an interruption, or to share the work")
    parser.add_argument("--index", type=int, help="this configuration alone")
    parser.add_argument("--jobs", type=int, default=4, help="pairs of pods at work")
    parser.add_argument("--probes", type=int, default=150, help="in each configuration")
    parser.add_argument("--most", type=int, default=40, help="differences to print")
    return parser.parse_args()


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"seed {args.seed} (again: make diff SEED={args.seed}; one alone: INDEX=n)", flush=True)
    indices = range(args.first, args.first + args.configs) if args.index is None else [args.index]
    crew = Crew(args.seed, indices, args.probes, min(args.jobs, len(indices)))
    interrupted = not crew.work()
    books = crew.books()
    print(books.failures(args.most))
    print(f"seed {args.seed}: {books.summary()}\n{crew.pace()}")
    if interrupted:
        left = indices[-1] + 1 - crew.next()
        print(f"interrupted: go on with SEED={args.seed} FROM={crew.next()} CONFIGS={left}")
    return interrupted or not books.clean()


sys.exit(main())
