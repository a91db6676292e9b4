# SPDX-License-Identifier: Apache-2.0
"""What is done with the cluster, in order."""

from .step import Step
from .steps_after import LAST
from .steps_before import AFTER, BEFORE
from .steps_begin import BEGIN
from .steps_change import CHANGE
from .steps_chart import CHART_STEPS, RIGHTS_STEPS
from .steps_mesh import MESH

ALL: list[Step] = [*BEGIN, *BEFORE, *MESH, *AFTER, *CHART_STEPS, *CHANGE[:-1], *RIGHTS_STEPS, CHANGE[-1], *LAST]
