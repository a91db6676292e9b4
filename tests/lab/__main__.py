# SPDX-License-Identifier: Apache-2.0
"""`python3 -m lab clean` (make clean-lab): removes what interrupted runs left behind."""

import sys

from . import clean

if sys.argv[1:] != ["clean"]:
    sys.exit("usage: python3 -m lab clean")
for prefix in clean():
    print("removed", prefix)
