/* SPDX-License-Identifier: Apache-2.0 */
/* --web.listen-address: a socket that listens there. */
#ifndef WEIR_EXPORTER_LISTEN_H
#define WEIR_EXPORTER_LISTEN_H

#include <stdint.h>

/*
 * address is ADDR:PORT, [v6]:PORT, or :PORT for every address of both families; port 0 asks for
 * any free one. The socket does not block. On failure *ret_error says what to do, owned.
 */
int listen_open(const char *address, int *ret_fd, uint16_t *ret_port, char **ret_error);

#endif
