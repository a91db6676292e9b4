/* SPDX-License-Identifier: Apache-2.0 */
#include "base/inet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

bool inet_is_v4(const uint8_t ip[16])
{
	return !memcmp(ip, mapped, sizeof(mapped));
}

int inet_parse(const char *text, uint8_t ret_ip[16])
{
	uint8_t ip[16];

	if (inet_pton(AF_INET6, text, ip) == 1) {
		memcpy(ret_ip, ip, sizeof(ip));
		return 0;
	}
	memcpy(ip, mapped, sizeof(mapped));
	if (inet_pton(AF_INET, text, ip + sizeof(mapped)) != 1)
		return -EINVAL;
	memcpy(ret_ip, ip, sizeof(ip));
	return 0;
}

int inet_parse_endpoint(const char *text, uint8_t ret_ip[16], uint16_t *ret_port)
{
	const char *colon = strrchr(text, ':');
	char host[INET_TEXT];
	unsigned long port;
	size_t len;
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return -EINVAL;
	port = strtoul(colon + 1, &end, 10);
	if (*end || port > UINT16_MAX)
		return -EINVAL;
	len = (size_t)(colon - text);
	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	} else if (memchr(text, ':', len)) {
		return -EINVAL; /* an IPv6 address needs its brackets */
	}
	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_parse(host, ret_ip) < 0)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

const char *inet_format(const uint8_t ip[16], char text[INET_TEXT])
{
	if (inet_is_v4(ip))
		inet_ntop(AF_INET, ip + sizeof(mapped), text, INET_TEXT);
	else
		inet_ntop(AF_INET6, ip, text, INET_TEXT);
	return text;
}

const char *inet_format_endpoint(const uint8_t ip[16], uint16_t port, char text[INET_TEXT])
{
	char host[INET_TEXT];

	inet_format(ip, host);
	snprintf(text, INET_TEXT, inet_is_v4(ip) ? "%.45s:%u" : "[%.45s]:%u", host, port);
	return text;
}
