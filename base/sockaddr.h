/* SPDX-License-Identifier: Apache-2.0 */
/* Internet addresses as system calls have them, turned into 16 bytes as base/inet.h has them. */
#ifndef WEIR_BASE_SOCKADDR_H
#define WEIR_BASE_SOCKADDR_H

#include <stdint.h>
#include <sys/socket.h>

/* port in host order. -EAFNOSUPPORT: of neither family. */
int sockaddr_read(const struct sockaddr *sa, uint8_t ret_ip[16], uint16_t *ret_port);

/* Of a socket's own end, and of the other one. 0 or -errno. */
int sockaddr_local(int fd, uint8_t ret_ip[16], uint16_t *ret_port);
int sockaddr_peer(int fd, uint8_t ret_ip[16], uint16_t *ret_port);

#endif
