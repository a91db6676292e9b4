/* SPDX-License-Identifier: Apache-2.0 */
/* Who listens in a pod's network namespace, asked of the kernel (NETLINK_SOCK_DIAG). */
#ifndef WEIR_CLI_LISTENERS_H
#define WEIR_CLI_LISTENERS_H

#include <stdbool.h>
#include <stdint.h>

/*
 * 1 when a TCP socket in the namespace at path takes connections to loopback:port of that family,
 * 0 when none does. -ESTALE when path leads to another namespace than the one with this cookie;
 * -EPERM without CAP_SYS_ADMIN.
 */
int listeners_find(const char *path, uint64_t cookie, bool v6, uint16_t port);

#endif
