/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's end of weir-cni: RUNDIR/cni.sock. One JSON object and a newline there, one JSON
 * object back, then the end; docs/CNI.md describes both. A pod that no source knows yet is waited
 * for, and asked for where there is an API; nothing of that keeps the loop from its other work.
 */
#ifndef WEIR_AGENT_CNI_H
#define WEIR_AGENT_CNI_H

struct agent;
struct cni;

/* Reads the sandboxes that an earlier agent knew, then listens. 0 or -errno with *ret_error. */
int cni_open(struct agent *agent, struct cni **ret, char **ret_error);
void cni_close(struct cni *cni);

/* Pods may have become known: those who wait for them have their answer. cni NULL: nobody does. */
void cni_known(struct cni *cni);

#endif
