# SPDX-License-Identifier: Apache-2.0
"""From samples to tables."""

import statistics

def marks(part):
    return f"<!-- bench {part}: begin -->", f"<!-- bench {part}: end -->"


def quartiles(values):
    """(first quartile, median, third quartile)"""
    if len(values) < 2:
        return values[0], values[0], values[0]
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


def ratios(samples, world, base):
    """Per round, so that what slows a whole round down slows both sides of its ratio."""
    return quartiles([a / b for a, b in zip(samples[world], samples[base])])


def summarize(samples, pairs):
    """Of one row: median and quartiles in ns for each world, and of the ratios of each pair."""
    return {"ns": {world: quartiles(values) for world, values in samples.items()},
            "ratio": {f"{world} / {base}": ratios(samples, world, base) for world, base in pairs}}


def microseconds(quarts):
    return f"{quarts[1] / 1000:.1f}"


def ratio(quarts):
    return f"{quarts[1]:.2f} ({quarts[0]:.2f} to {quarts[2]:.2f})"


def markdown(head, rows):
    """An aligned table: the first column to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        return "| " + " | ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(cells, widths))) + " |"

    rule = "|" + "|".join("-" * (width + 2) if i == 0 else "-" * (width + 1) + ":" for i, width in enumerate(widths)) + "|"
    return "\n".join([line(head), rule, *map(line, rows)])


def timing_table(summaries, worlds, pairs):
    """summaries: {title: what summarize() returned}"""
    names = [f"{world} / {base}" for world, base in pairs]
    rows = [[title, *(microseconds(row["ns"][world]) for world in worlds), *(ratio(row["ratio"][name]) for name in names)]
            for title, row in summaries.items()]
    return markdown(["us for one operation", *worlds, *names], rows)


def program_table(results):
    """One line for each program in each case, and what all of them take of one connection."""
    rows = []
    for case, result in results.items():
        total = sum(hook["ns"] for hook in result["hooks"].values())
        for name, hook in result["hooks"].items():
            rows.append([f"{case}: {name}", f"{hook['calls'] / result['connections']:.1f}", f"{hook['ns'] / hook['calls']:.0f}",
                         f"{hook['ns'] / result['connections']:.0f}"])
        rows.append([f"{case}: together", "", "", f"{total / result['connections']:.0f}"])
    return markdown(["program", "calls a connection", "ns a call", "ns a connection"], rows)


def has_markers(path, part):
    begin, end = marks(part)
    _, found, rest = path.read_text(encoding="utf-8").partition(begin)
    return bool(found) and end in rest


def write_between_markers(path, part, text):
    begin, end = marks(part)
    before, _, rest = path.read_text(encoding="utf-8").partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}", encoding="utf-8")
