# SPDX-License-Identifier: Apache-2.0
"""A step: a name for the command line, a title for the reader, a function that checks claims."""

import dataclasses
import typing

BOTH = ("cgroupfs", "systemd")
ONE = ("cgroupfs",)  # where it makes no difference how cgroups are made


@dataclasses.dataclass(frozen=True)
class Step:
    name: str
    title: str
    run: typing.Callable
    needed: bool = False  # by the steps that follow: runs always, and nothing runs after it failed
    drivers: tuple = BOTH  # with which it is run when both are
