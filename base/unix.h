/* SPDX-License-Identifier: Apache-2.0 */
/* Stream sockets with a path. */
#ifndef WEIR_BASE_UNIX_H
#define WEIR_BASE_UNIX_H

/*
 * Listens on DIR/name, for the owner alone; whatever was there is removed, so the caller must know
 * that nobody serves it. Non-blocking. The descriptor, or -errno; -ENAMETOOLONG beyond 107
 * characters.
 */
int unix_listen(const char *dir, const char *name);
/*
 * Connects to DIR/name, however long DIR is. Non-blocking. The descriptor; -ENOENT or -ECONNREFUSED
 * when nobody is there, -ETIMEDOUT when its queue is full, or another -errno.
 */
int unix_connect(const char *dir, const char *name);

#endif
