/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Since when something about the agent is so, as one call of weir-cni leaves it for the next: a
 * file of RUNDIR, which a reboot wipes. An agent that answers, and one that starts, removes them.
 */
#ifndef WEIR_CLI_CNI_MARKER_H
#define WEIR_CLI_CNI_MARKER_H

#include "cli/cni_request.h"

enum cni_marker {
	CNI_MARKER_AWAY, /* pods are held up */
	CNI_MARKER_SILENT, /* it takes requests and says nothing */
	CNI_MARKER_MAX,
};

/* Seconds since it was set; -1: it is not. */
long cni_marker_age(const struct cni_request *r, enum cni_marker marker);
void cni_marker_set(const struct cni_request *r, enum cni_marker marker);
/* All of them. */
void cni_marker_clear(const struct cni_request *r);

#endif
