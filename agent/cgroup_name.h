/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the names of cgroups below kubepods say, however the kubelet's driver and the runtime write
 * them. Knows no file system.
 */
#ifndef WEIR_AGENT_CGROUP_NAME_H
#define WEIR_AGENT_CGROUP_NAME_H

#include <stdbool.h>

#define POD_UID_MAX 64 /* 36 of a UUID, 32 of a static pod's hash, and a NUL */

/*
 * The uid of the pod whose cgroup is called so: kubepods-burstable-pod6f9d_0c.slice (systemd
 * driver, with any prefix: kubelet-kubepods-..., that of kubelet --cgroup-root), pod6f9d-0c
 * (cgroupfs driver). False when it is no pod's.
 */
bool cgroup_name_pod(const char *name, char ret_uid[POD_UID_MAX]);

/*
 * Is it CRI-O's monitor of a container (crio-conmon-ID.scope)? It lies in the pod's cgroup and runs
 * in the host's network namespace.
 */
bool cgroup_name_is_monitor(const char *name);

#endif
