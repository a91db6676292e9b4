/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sandboxes that CNI ADD told of: which network namespace the container runtime made for which
 * pod. One file each below RUNDIR/sandboxes, so that the next agent knows them as well; a reboot
 * ends the sandboxes and wipes /run together.
 */
#ifndef WEIR_AGENT_SANDBOX_H
#define WEIR_AGENT_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/pod.h"

/* A static pod's object is a mirror with a uid of its own; the kubelet goes by this hash. */
#define POD_CONFIG_HASH	  "kubernetes.io/config.hash"
#define POD_CONFIG_MIRROR "kubernetes.io/config.mirror" /* of the mirror alone */

struct sandbox {
	struct sandbox *next;
	char *container_id, *ifname; /* together they name an attachment, as CNI has it */
	char *network; /* name of the network configuration */
	char *netns; /* path, as the runtime sees it */
	char *namespace, *name;
	char *uid; /* "" when the runtime does not tell */
	bool guarded; /* it started before its object was known, and is refused until it is */
	bool seen; /* its network namespace was there: when it is not any more, it has ended */
};

struct sandboxes {
	char *dir; /* NULL: not open */
	struct sandbox *list; /* the newest first */
};

/*
 * Makes dir and reads what is there; what cannot be read is logged and removed, a sandbox whose
 * network namespace has ended is removed. 0 or -errno.
 */
int sandboxes_open(struct sandboxes *s, const char *dir);
void sandboxes_close(struct sandboxes *s);
/* Removes dir with all that sandboxes_put() left there: weir leaves the node. */
void sandboxes_remove(const char *dir);

/*
 * Takes in a copy of all strings of `new`. An attachment of that name, or an older one of the same
 * pod and interface, is replaced. 0, or -errno when it could not be kept on disk (it is known
 * nevertheless).
 */
int sandboxes_put(struct sandboxes *s, const struct sandbox *new);
/* Forgets an attachment; ifname NULL: all of that container. How many there were. */
int sandboxes_drop(struct sandboxes *s, const char *container_id, const char *ifname);

/* Forgets those whose network namespace has ended: their DEL was lost, or will never come. */
void sandboxes_prune(struct sandboxes *s);

/* Marks an attachment, on disk as well; NULL when there is none of that name. */
const struct sandbox *sandboxes_guard(struct sandboxes *s, const char *container_id,
				      const char *ifname, bool guarded);

/* Those of a pod; the newest. NULL when there is none. */
const struct sandbox *sandboxes_of_pod(const struct sandboxes *s, const struct pod *pod);
bool sandbox_is_of(const struct sandbox *sandbox, const struct pod *pod);

#endif
