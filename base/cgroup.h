/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the pods' cgroups lie. Programs attach to the cgroup that the kubelet makes for all pods,
 * in the v2 hierarchy, and never to the root of that tree. All ints are 0 or -errno.
 */
#ifndef WEIR_BASE_CGROUP_H
#define WEIR_BASE_CGROUP_H

#include <stdbool.h>

/*
 * Where the v2 hierarchy is mounted: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid system.
 * Of several mounts the one that shows the true root of the tree. -ENOENT when there is none.
 * *ret_path is the caller's.
 */
int cgroup2_mount(char **ret_path);
/* The same from a file in the format of /proc/self/mounts. */
int cgroup2_mount_from(const char *mounts, char **ret_path);

/*
 * The kubelet's cgroup of all pods below mount: kubepods.slice, kubepods, as kind nests them (of
 * these the first in which processes run, if they do in any), or below what kubelet --cgroup-root
 * names. -ENOENT when there is none, -ENOTUNIQ when several
 * kubelets have one. *ret_path is the caller's.
 */
int cgroup_find_kubepods(const char *mount, char **ret_path);

/* Do processes run there, or below? */
bool cgroup_is_populated(const char *path);

/*
 * 1 when path is the root of the v2 tree, or the highest cgroup that this mount shows; 0 when it
 * lies below. -ENOTSUP when path is no directory of a v2 hierarchy.
 */
int cgroup_is_root(const char *path);

#endif
