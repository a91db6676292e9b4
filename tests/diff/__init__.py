# SPDX-License-Identifier: Apache-2.0
"""weir against the real iptables: the same pod twice, the same probes in both, every difference reported.

    pod object --inputs.py--> what the mesh would hand to its iptables tool --rules.py--> rules --iptables-restore--> pod A
    pod object ------------------------------------------- weir agent -----------------------------------------------> pod B
    probes.py: what to try     worlds.py: the two pods     compare.py: what may differ     ask.py: what `weir explain` and the counters said
    run.py: one configuration after the other     crew.py: several at a time

inputs.py and rules.py are written from the meshes' documented behaviour and know nothing of weir's code; rules.py is checked against
rule sets that Istio itself generated (golden/) before anything is compared.

    python3 -m diff --configs 100 --seed 7       random configurations; --index I runs one of them alone
"""
