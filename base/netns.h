/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod's network namespace. It is opened by its path whenever it is needed and closed again:
 * holding it would keep the namespace of a dead pod alive.
 */
#ifndef WEIR_BASE_NETNS_H
#define WEIR_BASE_NETNS_H

#include <stdint.h>

/*
 * Opens path; where this process does not see it, as the node's init process does, if that is not
 * hidden (hostPID). -errno, or -EMEDIUMTYPE when it is no network namespace.
 */
int netns_open(const char *path);

/*
 * Calls fn in that namespace and comes back. Returns what fn returned, or -errno when the namespace
 * could not be entered. Failing to come back ends the program: it would serve the wrong network.
 */
int netns_call(int netns_fd, int (*fn)(void *ctx), void *ctx);

/*
 * The same in a namespace that is made for it, and lasts as long as the sockets that fn opens
 * there.
 */
int netns_call_apart(int (*fn)(void *ctx), void *ctx);

/* The namespace's cookie (SO_NETNS_COOKIE, Linux 5.14). */
int netns_cookie(int netns_fd, uint64_t *ret_cookie);
/* Of the namespace that the agent itself runs in. */
int netns_own_cookie(uint64_t *ret_cookie);

#endif
