/* SPDX-License-Identifier: Apache-2.0 */
/* What the agent knows of one pod of this node: its object, where it runs, what is in force. */
#ifndef WEIR_AGENT_MANAGED_H
#define WEIR_AGENT_MANAGED_H

#include "agent/links.h"
#include "agent/place.h"
#include "agent/policy.h"
#include "agent/source.h"
#include "maps/flow.h"

/* A pod of this node, from its first sight until its network namespace is let go. */
struct managed {
	struct managed *next;
	char *namespace, *name, *uid, *node;
	char *told_uid; /* what Events about it bear */
	bool mirrored; /* it is a static pod, and its object a mirror */
	char *workload, *workload_kind;
	struct weir_traits traits; /* of its newest object */
	char *netns, *cgroup; /* as struct place has them */
	enum place_how how; /* it was found */
	char *file; /* where it was read */
	bool api; /* that is the API */
	bool guard; /* only CNI ADD has told of it; see guard.h */
	bool recalled; /* only the kernel's tables tell of it; see leftover.h */
	char *ips; /* for people */
	struct weir_addr *addrs; /* the same: those of its status */
	size_t n_addrs;
	struct policy *policy; /* of its newest object */
	uint64_t cookie; /* 0: its network namespace has not been found */
	enum policy_state state;
	char *reason;
	char *listener; /* what is wrong with its proxy's inbound listener; NULL: nothing is known
			 */
	bool applied; /* what the maps hold is of this pod */
	bool written; /* in this run: its addresses are all desired ones */
	bool present; /* in the newest scan */
	struct links_watch watch; /* of its network namespace, if the policy names interfaces */
	bool plain; /* its namespace has none of weir's rules and routes */
	uint64_t machines_cookies; /* of the listeners that machines.c has seen to; 0: none yet */
	bool machines_denied; /* it was not allowed to */
	int64_t retry_ms; /* not before this moment; 0: at once */
	int64_t young_until_ms; /* the runtime is still making its network; 0: not so */
	int64_t missing_since; /* ms; 0: not missing */
	int64_t astray_since_ms; /* since when its namespace cannot be opened; 0: it can */
};

/* What the object and the place say replaces what they said before. Takes place's strings. */
void managed_take(struct managed *m, const struct pod *pod, const struct source_file *file,
		  struct place *place);
void managed_free(struct managed *m);

/* Logs a change of state, once. Takes reason. */
void managed_set_state(struct managed *m, enum policy_state state, char *reason);
/* Logs what is new about its proxy's listener, once. Takes text; NULL: nothing is wrong. */
void managed_set_listener(struct managed *m, char *text);
/* What its author should know though it is captured: the policy's warnings, and the listener's.
 * Borrowed. */
const char *managed_warning(const struct managed *m, size_t i);
size_t managed_n_warnings(const struct managed *m);
/* ns/name, for logs; the caller's. */
char *managed_key(const struct managed *m);

#endif
