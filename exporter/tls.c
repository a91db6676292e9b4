/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/tls.h"

#include <errno.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/inet.h"

#define SAN_MAX 1024

struct tls {
	unsigned int refs;
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priority;
	enum web_client_auth auth;
	char **sans;
	size_t n_sans;
};

/* A name in a certificate as text. */
static bool san_text(unsigned int type, const char *san, size_t size, char text[SAN_MAX])
{
	uint8_t ip[16] = { [10] = 0xff, 0xff };

	switch (type) {
	case GNUTLS_SAN_DNSNAME:
	case GNUTLS_SAN_RFC822NAME:
	case GNUTLS_SAN_URI:
		snprintf(text, SAN_MAX, "%.*s", (int)size, san);
		return true;
	case GNUTLS_SAN_IPADDRESS:
		if (size != 4 && size != 16)
			return false;
		memcpy(size == 4 ? ip + 12 : ip, san, size);
		inet_format(ip, text);
		return true;
	}
	return false;
}

static bool is_allowed(const struct tls *t, gnutls_x509_crt_t certificate)
{
	for (unsigned int i = 0;; i++) {
		char san[SAN_MAX], text[SAN_MAX];
		size_t size = sizeof(san);
		unsigned int type;
		int r = gnutls_x509_crt_get_subject_alt_name2(certificate, i, san, &size, &type,
							      NULL);

		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return false;
		if (r < 0 || !san_text(type, san, size, text))
			continue;
		for (size_t j = 0; j < t->n_sans; j++)
			if (!strcmp(t->sans[j], text))
				return true;
	}
}

static int check_sans(const struct tls *t, gnutls_session_t session)
{
	const gnutls_datum_t *chain;
	gnutls_x509_crt_t certificate;
	unsigned int n = 0;
	bool allowed;

	chain = gnutls_certificate_get_peers(session, &n);
	if (!chain || !n || gnutls_x509_crt_init(&certificate) < 0)
		return GNUTLS_E_CERTIFICATE_ERROR;
	allowed = gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER) == 0 &&
		  is_allowed(t, certificate);
	gnutls_x509_crt_deinit(certificate);
	return allowed ? 0 : GNUTLS_E_CERTIFICATE_ERROR;
}

/* Called during the handshake, when the client has shown a certificate. */
static int verify_client(gnutls_session_t session)
{
	gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
					  .data = (void *)GNUTLS_KP_TLS_WWW_CLIENT };
	const struct tls *t = gnutls_db_get_ptr(session);
	unsigned int n = 0, status = 0;

	if (!gnutls_certificate_get_peers(session, &n) || !n)
		return 0; /* where none is required */
	if (t->auth >= WEB_VERIFY_CLIENT_CERT_IF_GIVEN &&
	    (gnutls_certificate_verify_peers(session, &purpose, 1, &status) < 0 || status))
		return GNUTLS_E_CERTIFICATE_ERROR;
	return t->n_sans ? check_sans(t, session) : 0;
}

static gnutls_datum_t datum(const char *text)
{
	return (gnutls_datum_t){ (unsigned char *)text, (unsigned int)strlen(text) };
}

static int load(struct tls *t, const struct web_config *config, const char **ret_what)
{
	gnutls_datum_t cert = datum(config->cert), key = datum(config->key), ca;
	int r = gnutls_certificate_allocate_credentials(&t->credentials);

	*ret_what = "certificate and key";
	if (r < 0)
		return r;
	r = gnutls_certificate_set_x509_key_mem(t->credentials, &cert, &key, GNUTLS_X509_FMT_PEM);
	if (r < 0)
		return r;
	*ret_what = "client_ca_file";
	if (config->client_ca) {
		ca = datum(config->client_ca);
		r = gnutls_certificate_set_x509_trust_mem(t->credentials, &ca, GNUTLS_X509_FMT_PEM);
		if (r <= 0)
			return r ?: GNUTLS_E_NO_CERTIFICATE_FOUND;
	}
	gnutls_certificate_set_verify_function(t->credentials, verify_client);
	*ret_what = "versions and curves";
	return gnutls_priority_init(&t->priority, config->priority, NULL);
}

int tls_new(const struct web_config *config, struct tls **ret, char **ret_error)
{
	struct tls *t = xcalloc(1, sizeof(*t));
	const char *what;
	int r;

	t->refs = 1;
	t->auth = config->client_auth;
	for (size_t i = 0; i < config->n_sans; i++)
		list_append(t->sans, t->n_sans, xstrdup(config->sans[i]));
	r = load(t, config, &what);
	if (r < 0) {
		*ret_error =
			xasprintf("%s: %s: %s", config->files[0].path, what, gnutls_strerror(r));
		tls_unref(t);
		return -EINVAL;
	}
	*ret = t;
	return 0;
}

/* Sessions are resumed by none, so the place for their database's pointer is free for ours. */
struct tls *tls_dress(struct tls *t, gnutls_session_t session)
{
	bool asks = t->auth != WEB_NO_CLIENT_CERT;
	bool requires = t->auth == WEB_REQUIRE_ANY_CLIENT_CERT ||
			t->auth == WEB_REQUIRE_AND_VERIFY_CLIENT_CERT;

	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, t->credentials);
	gnutls_priority_set(session, t->priority);
	gnutls_db_set_ptr(session, t);
	gnutls_certificate_server_set_request(session, requires ? GNUTLS_CERT_REQUIRE
						       : asks	? GNUTLS_CERT_REQUEST
								: GNUTLS_CERT_IGNORE);
	t->refs++;
	return t;
}

void tls_unref(struct tls *t)
{
	if (!t || --t->refs)
		return;
	if (t->priority)
		gnutls_priority_deinit(t->priority);
	if (t->credentials)
		gnutls_certificate_free_credentials(t->credentials);
	for (size_t i = 0; i < t->n_sans; i++)
		free(t->sans[i]);
	free(t->sans);
	free(t);
}
