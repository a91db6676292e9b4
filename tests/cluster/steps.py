# SPDX-License-Identifier: Apache-2.0
"""What is done with the cluster, in order."""

from .step import Step
from .steps_begin import BEGIN

ALL: list[Step] = [*BEGIN]
