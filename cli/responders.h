/* SPDX-License-Identifier: Apache-2.0 */
/* Who takes datagrams on loopback, in a pod's network namespace: the proxy's DNS responder. */
#ifndef WEIR_CLI_RESPONDERS_H
#define WEIR_CLI_RESPONDERS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Is there a UDP socket, not connected, that takes what goes to 127.0.0.1 (::1) and this port?
 * `path` and `cookie` name the network namespace. 1, 0, or -errno; -ESTALE: another namespace is
 * there now.
 */
int responders_find(const char *path, uint64_t cookie, bool v6, uint16_t port);

#endif
