# SPDX-License-Identifier: Apache-2.0
"""What the accounting tests share: the figures of a workload, and the comparison with its own books."""

from lab.agent import total
from lab.command import wait_until
from support import dual_stack, wait_state

FIELDS = {"sent": "weir_tcp_sent_bytes_total", "received": "weir_tcp_received_bytes_total", "opened": "weir_tcp_connections_opened_total",
          "closed": "weir_tcp_connections_closed_total", "open": "weir_tcp_connections_open"}
NOTHING = dict.fromkeys(FIELDS, 0)


def metrics(lab):
    return lab.agents[-1].metrics()


def pod_of(lab, name, mesh=None, **options):
    """A pod of a Deployment of that name, known to weir."""
    pod = lab.pod(name, mesh=mesh, owner=f"Deployment/{name}", **options)
    pod.write(dual_stack(pod) if mesh else None)
    return wait_state(lab, pod, "captured" if mesh else "not_captured")


def flow_in(now, pod, direction, **labels):
    """A workload's figures in one scrape."""
    return {field: int(total(now, name, namespace=pod.namespace, workload=pod.name, direction=direction, **labels)) for field, name in FIELDS.items()}


def flow(lab, pod, direction, **labels):
    """What weir counted for a workload, with these labels."""
    return flow_in(metrics(lab), pod, direction, **labels)


def settled(lab, pod, direction, connections, **labels):
    """The same as soon as so many connections have ended: a socket's last state comes after its owner's close()."""
    wait_until(lambda: flow(lab, pod, direction, **labels)["closed"] >= connections, f"{connections} connections of {pod.name} to be closed")
    return flow(lab, pod, direction, **labels)


def books(answers, **more):
    """The client's own sums."""
    answers = answers if isinstance(answers, list) else [answers]
    assert all(answer["ok"] and answer["intact"] for answer in answers)
    return {"sent": sum(answer["sent"] for answer in answers), "received": sum(answer["received"] for answer in answers),
            "opened": len(answers), "closed": len(answers), "open": 0, **more}


def mirrored(count):
    return {**count, "sent": count["received"], "received": count["sent"]}


def wanted(sent=0, received=0, opened=1, closed=None):
    """Figures; all connections have ended unless said otherwise."""
    closed = opened if closed is None else closed
    return {"sent": sent, "received": received, "opened": opened, "closed": closed, "open": opened - closed}


def failures(lab, pod):
    """Failed connections by reason."""
    return {dict(labels)["reason"]: int(value) for (name, labels), value in metrics(lab).items()
            if name == "weir_tcp_connections_failed_total" and ("workload", pod.name) in labels and value}


def histogram(lab, name, pod, **labels):
    """(count, sum, {le: count}) of a workload's histogram."""
    now = metrics(lab)
    buckets = {}
    for (sample, have), value in now.items():
        if sample == f"{name}_bucket" and ("workload", pod.name) in have and set(labels.items()) <= set(have):
            buckets[dict(have)["le"]] = buckets.get(dict(have)["le"], 0) + int(value)
    return int(total(now, f"{name}_count", workload=pod.name, **labels)), total(now, f"{name}_sum", workload=pod.name, **labels), buckets
