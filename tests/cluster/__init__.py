# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes of one node, with weir installed by its own chart; scripts/check-cluster runs it.

Data flow: images.py makes what containerd runs; control.py runs etcd, the API server, the controllers and the scheduler here; node.py
boots the node, a QEMU guest; cluster.py asks all of them; steps_*.py is what is done, in order.
"""
