// SPDX-License-Identifier: Apache-2.0
/*
 * The C library's getaddrinfo(), built with glibc and with musl. For each name the addresses of
 * both families, or what went wrong: one line of JSON, {name: [address...] or error}.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>

static void print_addresses(const struct addrinfo *found)
{
	bool first = true;

	putchar('[');
	for (; found; found = found->ai_next, first = false) {
		const void *address =
			found->ai_family == AF_INET6
				? (const void *)&((struct sockaddr_in6 *)found->ai_addr)->sin6_addr
				: (const void *)&((struct sockaddr_in *)found->ai_addr)->sin_addr;
		char text[INET6_ADDRSTRLEN];

		inet_ntop(found->ai_family, address, text, sizeof(text));
		printf("%s\"%s\"", first ? "" : ", ", text);
	}
	putchar(']');
}

int main(int argc, char **argv)
{
	putchar('{');
	for (int i = 1; i < argc; i++) {
		struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
		int error = getaddrinfo(argv[i], NULL, &hints, &found);

		printf("%s\"%s\": ", i > 1 ? ", " : "", argv[i]);
		if (error) {
			printf("\"%s\"", error == EAI_NONAME ? "not found" : gai_strerror(error));
			continue;
		}
		print_addresses(found);
		freeaddrinfo(found);
	}
	puts("}");
	return 0;
}
