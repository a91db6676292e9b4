/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as text. An address is 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; ports are
 * in host order. All parsers return 0 or -EINVAL.
 */
#ifndef WEIR_BASE_INET_H
#define WEIR_BASE_INET_H

#include <stdbool.h>
#include <stdint.h>

#define INET_TEXT 56 /* "[" + 45 + "]:65535" and a NUL */

bool inet_is_v4(const uint8_t ip[16]);
int inet_parse(const char *text, uint8_t ret_ip[16]);
/* a.b.c.d:port or [v6]:port */
int inet_parse_endpoint(const char *text, uint8_t ret_ip[16], uint16_t *ret_port);
/* Writes into and returns text. */
const char *inet_format(const uint8_t ip[16], char text[INET_TEXT]);
const char *inet_format_endpoint(const uint8_t ip[16], uint16_t port, char text[INET_TEXT]);

#endif
