/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BPF objects in the kernel: loads the programs on the pinned maps, attaches them, pins the links.
 * What an earlier agent left is adopted: its maps are used, its links get the new programs, each
 * atomically, readers before writers. Nothing is detached when the agent ends.
 *
 *   BPFDIR/weir_*          maps
 *   BPFDIR/links/HOOK      links at the kubepods cgroup
 *   BPFDIR/iter_fold       the iterator that folds live connections into weir_flows
 *   BPFDIR/netns/COOKIE    link of sk_lookup in a captured pod's network namespace
 */
#ifndef WEIR_AGENT_LOADER_H
#define WEIR_AGENT_LOADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loader;
struct sizes;

struct loader_options {
	const char *bpf_dir;
	const char *cgroup_root; /* of the pods: what the hooks are attached to */
	const struct sizes *sizes; /* of the tables; outlives the call */
	uint32_t max_flows; /* how many flows the hooks may make; 0: the default */
	bool pod_local; /* count what stays within a pod */
	bool tls; /* look at the first payload of each connection */
	bool udp; /* count datagrams */
	bool traits; /* weir_traits is wanted; one that is pinned is used anyhow */
};

/*
 * Takes BPFDIR for this process (a second agent gets -EBUSY) and loads, on the pinned maps. A table
 * that is pinned keeps its size, which is said: to change it would mean to stop counting for a
 * moment.
 * *ret_error: one line that says what to do, the caller's; set on failure only.
 */
int loader_open(const struct loader_options *options, struct loader **ret, char **ret_error);
/* Attaches at the pods' cgroup, all hooks or none. */
int loader_attach(struct loader *loader, char **ret_error);
/* Attaches again what somebody else has detached; how many hooks that were, or -errno. */
int loader_repair(struct loader *loader);
void loader_free(struct loader *loader);

/* File descriptor of a map, the loader's; name as in BPFDIR. -ENOENT if there is none. */
int loader_map(const struct loader *loader, const char *name);
void loader_each_map(const struct loader *loader, void (*fn)(const char *name, int fd, void *ctx),
		     void *ctx);
void loader_each_hook(const struct loader *loader,
		      void (*fn)(const char *name, bool attached, void *ctx), void *ctx);

/* Folds what live connections have counted into weir_flows. */
int loader_fold(const struct loader *loader);
/* Finds the proxy's listeners and the connections that exist in this network namespace. */
int loader_adopt(struct loader *loader, int netns_fd);

/* Steers inbound SYNs of that namespace; idempotent. */
int loader_attach_netns(struct loader *loader, int netns_fd, uint64_t cookie);
/* -ENOENT when there is none. */
int loader_detach_netns(struct loader *loader, uint64_t cookie);
/* Is the link there, and its network namespace alive? */
bool loader_netns_alive(const struct loader *loader, uint64_t cookie);
/* Cookies of all pinned links; *ret is the caller's. */
int loader_list_netns(const struct loader *loader, uint64_t **ret, size_t *ret_n);

#endif
