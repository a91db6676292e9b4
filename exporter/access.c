/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/access.h"

#include <crypt.h>
#include <gnutls/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"

#define DIGEST 32 /* SHA-256 */
#define KNOWN  16
/* A certificate and its key change one after the other. */
#define RETRY_MS 2000
/*
 * Who guesses passwords does not keep the agent from its work: hashing may take a fifth of the
 * time, and this long at once.
 */
#define SHARE	 5
#define BURST_MS 2000

/* An unknown user takes as long as a known one. It is nobody's password. */
#define NOBODY "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"

struct access {
	char *file; /* NULL: none */
	struct web_config config;
	struct tls *tls;
	struct crypt_data *scratch;
	uint8_t known[KNOWN][DIGEST]; /* of those that were granted lately */
	size_t n_known;
	int64_t left_ms; /* to hash passwords in, as of then_ms */
	int64_t then_ms;
	int64_t retry_ms; /* when files that were wrong are looked at again */
};

/* What the file says now; on failure nothing has changed. */
static int load(struct access *a, char **ret_error)
{
	_cleanup_web_config_ struct web_config config = { 0 };
	struct web_config old = a->config;
	struct tls *tls = NULL;
	int err = web_config_load(a->file, &config, ret_error);

	if (!err && config.tls)
		err = tls_new(&config, &tls, ret_error);
	if (err)
		return err;
	tls_unref(a->tls);
	a->tls = tls;
	a->config = config;
	a->n_known = 0;
	config = old;
	return 0;
}

int access_open(const char *file, struct access **ret, char **ret_error)
{
	struct access *a = xcalloc(1, sizeof(*a));
	int err = 0;

	if (file && *file) {
		a->file = xstrdup(file);
		a->scratch = xcalloc(1, sizeof(*a->scratch));
		err = load(a, ret_error);
	}
	if (err)
		access_close(a);
	else
		*ret = a;
	return err;
}

void access_close(struct access *a)
{
	if (!a)
		return;
	tls_unref(a->tls);
	web_config_free(&a->config);
	free(a->scratch);
	free(a->file);
	free(a);
}

/* The server has begun to speak one way or the other, and does so until it ends. */
static int reload(struct access *a, char **ret_error)
{
	_cleanup_web_config_ struct web_config config = { 0 };
	int err = web_config_load(a->file, &config, ret_error);

	if (err)
		return err;
	if (config.tls != a->config.tls) {
		*ret_error = xasprintf("%s: with or without TLS is decided when the agent starts",
				       a->file);
		return -EINVAL;
	}
	return load(a, ret_error);
}

void access_refresh(struct access *a)
{
	_cleanup_free_ char *error = NULL;

	if (!a->file || clock_ms() < a->retry_ms || !web_config_changed(&a->config))
		return;
	if (reload(a, &error) == 0) {
		log_info("the web configuration was read again", "file", a->file, NULL);
		return;
	}
	log_error("the web configuration is wrong; what it said before stays", "file", a->file,
		  "error", error, NULL);
	a->retry_ms = clock_ms() + RETRY_MS;
}

const struct web_config *access_config(const struct access *a)
{
	return &a->config;
}

struct tls *access_tls(const struct access *a)
{
	return a->tls;
}

static const char *hash_of(const struct access *a, const char *name)
{
	for (size_t i = 0; i < a->config.n_users; i++)
		if (!strcmp(a->config.users[i].name, name))
			return a->config.users[i].hash;
	return NULL;
}

static void digest(const char *name, const char *password, uint8_t ret[DIGEST])
{
	_cleanup_buf_ struct buf text = { 0 };

	buf_add(&text, name, strlen(name) + 1);
	buf_str(&text, password);
	gnutls_hash_fast(GNUTLS_DIG_SHA256, text.data, text.len, ret);
	explicit_bzero(text.data, text.len);
}

static bool is_known(const struct access *a, const uint8_t what[DIGEST])
{
	for (size_t i = 0; i < a->n_known && i < KNOWN; i++)
		if (!gnutls_memcmp(a->known[i], what, DIGEST))
			return true;
	return false;
}

static bool is_hash_of(struct access *a, const char *password, const char *hash)
{
	const char *made = crypt_rn(password, hash, a->scratch, sizeof(*a->scratch));

	return made && strlen(made) == strlen(hash) && !gnutls_memcmp(made, hash, strlen(hash));
}

static bool has_time(struct access *a)
{
	int64_t now = clock_ms();

	a->left_ms += (now - a->then_ms) / SHARE;
	a->then_ms = now;
	if (a->left_ms > BURST_MS)
		a->left_ms = BURST_MS;
	return a->left_ms > 0;
}

enum access_verdict access_check(struct access *a, const char *name, const char *password)
{
	uint8_t what[DIGEST];
	const char *hash;
	bool right;

	if (!a->config.n_users)
		return ACCESS_GRANTED;
	if (!name || !password)
		return ACCESS_DENIED;
	digest(name, password, what);
	if (is_known(a, what))
		return ACCESS_GRANTED;
	if (!has_time(a))
		return ACCESS_BUSY;
	hash = hash_of(a, name);
	right = is_hash_of(a, password, hash ?: NOBODY) && hash;
	a->left_ms -= clock_ms() - a->then_ms;
	if (!right)
		return ACCESS_DENIED;
	memcpy(a->known[a->n_known++ % KNOWN], what, DIGEST);
	return ACCESS_GRANTED;
}
