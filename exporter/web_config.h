/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of --web.config.file, as Prometheus' exporters have it (exporter-toolkit): TLS, client
 * certificates, headers, and users with bcrypt hashes of their passwords. What it names is read
 * with it; paths are relative to it.
 */
#ifndef WEIR_EXPORTER_WEB_CONFIG_H
#define WEIR_EXPORTER_WEB_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file that was read, as it was then. */
struct web_file {
	char *path;
	int64_t mtime_ns, size;
	uint64_t inode;
};

struct web_user {
	char *name, *hash;
};

struct web_header {
	char *name, *value;
};

/* By the names that Go has for them. */
enum web_client_auth {
	WEB_NO_CLIENT_CERT,
	WEB_REQUEST_CLIENT_CERT,
	WEB_REQUIRE_ANY_CLIENT_CERT,
	WEB_VERIFY_CLIENT_CERT_IF_GIVEN,
	WEB_REQUIRE_AND_VERIFY_CLIENT_CERT,
};

/* All strings are its own. */
struct web_config {
	struct web_file *files;
	size_t n_files;
	bool tls; /* what follows counts only then */
	char *cert, *key; /* PEM */
	char *client_ca; /* PEM; NULL: none */
	enum web_client_auth client_auth;
	char **sans; /* of which a client's certificate must bear one; none: any will do */
	size_t n_sans;
	char *priority; /* versions and groups, in GnuTLS' words */
	struct web_user *users; /* none: whoever comes */
	size_t n_users;
	struct web_header *headers; /* of every answer */
	size_t n_headers;
};

/* 0, or -errno with a sentence in *ret_error, the caller's. */
int web_config_load(const char *file, struct web_config *ret, char **ret_error);
/* Whether one of its files is another one now; a file that is gone is no change. */
bool web_config_changed(const struct web_config *c);
void web_config_free(struct web_config *c);

#define _cleanup_web_config_ _cleanup_(web_config_free)

#endif
