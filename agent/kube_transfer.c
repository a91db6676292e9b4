/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_transfer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "agent/kube_json.h"
#include "agent/kube_resource.h"
#include "base/buf.h"
#include "base/cleanup.h"

#define CONNECT_TIMEOUT_MS 10000L
#define MAX_REFUSAL	   65536 /* bytes of a Status that are read */

struct kube_transfer {
	const struct kube_call *call;
	CURL *easy;
	struct curl_slist *headers;
	struct curl_slist *connect_to;
	char *token, *cert; /* what it was made with */
	char curl_error[CURL_ERROR_SIZE];
	struct buf refusal; /* the body of an answer that is not 2xx */
	json_t *status_object; /* that body, parsed */
	char *error; /* what the result says */
	char *content_error; /* of our own callbacks */
	bool checked, opened;
};

CURL *kube_transfer_easy(const struct kube_transfer *t)
{
	return t->easy;
}

bool kube_transfer_used(const struct kube_transfer *t, const char *token, const char *cert)
{
	if (token)
		return t->token && !strcmp(t->token, token);
	return cert && t->cert && !strcmp(t->cert, cert);
}

void kube_transfer_free(struct kube_transfer *t)
{
	if (!t)
		return;
	curl_easy_cleanup(t->easy);
	curl_slist_free_all(t->headers);
	curl_slist_free_all(t->connect_to);
	buf_free(&t->refusal);
	json_decref(t->status_object);
	free(t->token);
	free(t->cert);
	free(t->error);
	free(t->content_error);
	free(t);
}

static long status_of(const struct kube_transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status;
}

static bool is_json(const struct kube_transfer *t)
{
	static const char json[] = "application/json";
	const char *type = NULL;

	curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
	return type && !strncasecmp(type, json, strlen(json)) && strchr(";, ", type[strlen(json)]);
}

/* Once all headers are there. False: this is no answer to read. */
static bool check(struct kube_transfer *t)
{
	const char *type = NULL;

	if (t->checked)
		return t->opened;
	t->checked = true;
	if (!is_json(t)) {
		curl_easy_getinfo(t->easy, CURLINFO_CONTENT_TYPE, &type);
		t->content_error = xasprintf("the answer is %s, not application/json: is that a "
					     "Kubernetes API server?",
					     type ?: "of no known type");
		return false;
	}
	t->opened = true;
	if (t->call->opened)
		t->call->opened(t->call->ctx);
	return true;
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_transfer *t = ctx;
	long status = status_of(t);
	bool last = n == 2 && data[0] == '\r';

	(void)size;
	return last && status / 100 == 2 && !check(t) ? 0 : n;
}

static size_t on_data(char *data, size_t size, size_t n, void *ctx)
{
	struct kube_transfer *t = ctx;

	(void)size;
	if (status_of(t) / 100 != 2) {
		if (t->refusal.len + n <= MAX_REFUSAL)
			buf_add(&t->refusal, data, n);
		return n;
	}
	if (!check(t))
		return 0;
	return t->call->data && t->call->data(t->call->ctx, data, n, &t->content_error) < 0 ? 0 : n;
}

/* A peer that vanished without a word is noticed within a minute. */
static int on_new_socket(void *ctx, curl_socket_t fd, curlsocktype type)
{
	int probes = 3, unacknowledged_ms = 30000;

	(void)ctx;
	(void)type;
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms,
		   sizeof(unacknowledged_ms));
	return CURL_SOCKOPT_OK;
}

static void set_blob(CURL *easy, CURLoption option, const char *pem)
{
	struct curl_blob blob = { .data = (void *)pem,
				  .len = strlen(pem),
				  .flags = CURL_BLOB_COPY };

	curl_easy_setopt(easy, option, &blob);
}

/*
 * As blobs: curl keeps what it made of a CA file for a day, and takes a connection for the same
 * one as long as the file's name is.
 */
static int set_tls(struct kube_transfer *t, const struct kube_config *config,
		   const struct kube_credential *credential, char **ret_error)
{
	_cleanup_free_ char *ca = NULL, *cert = NULL, *key = NULL;
	int err = kube_pem_read(&config->ca, &ca, ret_error);

	if (!err)
		err = kube_pem_read(&config->cert, &cert, ret_error);
	if (!err)
		err = kube_pem_read(&config->key, &key, ret_error);
	if (err < 0)
		return err;
	if (credential->cert) {
		free(cert);
		free(key);
		cert = xstrdup(credential->cert);
		key = xstrdup(credential->key);
	}
	if (ca)
		set_blob(t->easy, CURLOPT_CAINFO_BLOB, ca);
	if (cert && key) {
		set_blob(t->easy, CURLOPT_SSLCERT_BLOB, cert);
		set_blob(t->easy, CURLOPT_SSLKEY_BLOB, key);
		curl_easy_setopt(t->easy, CURLOPT_SSLCERTTYPE, "PEM");
		curl_easy_setopt(t->easy, CURLOPT_SSLKEYTYPE, "PEM");
	}
	t->cert = TAKE_PTR(cert);
	curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYPEER, config->insecure ? 0L : 1L);
	curl_easy_setopt(t->easy, CURLOPT_SSL_VERIFYHOST, config->insecure ? 0L : 2L);
	return 0;
}

static void add_header(struct kube_transfer *t, const char *line)
{
	t->headers = curl_slist_append(t->headers, line);
}

static int set_credentials(struct kube_transfer *t, const struct kube_config *config,
			   const struct kube_credential *credential, char **ret_error)
{
	_cleanup_free_ char *line = NULL;
	int err = 0;

	if (credential->token)
		t->token = xstrdup(credential->token);
	else
		err = kube_config_token(config, &t->token, ret_error);
	if (err < 0)
		return err;
	for (char **header = config->headers; header && *header; header++)
		add_header(t, *header);
	if (t->token) {
		line = xasprintf("Authorization: Bearer %s", t->token);
		add_header(t, line);
	} else if (config->username) {
		curl_easy_setopt(t->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC);
		curl_easy_setopt(t->easy, CURLOPT_USERNAME, config->username);
		curl_easy_setopt(t->easy, CURLOPT_PASSWORD, config->password ?: "");
	}
	return 0;
}

/*
 * tls-server-name is the name in SNI and in the certificate. curl takes both from the URL, so the
 * URL has that name, and the connection goes where the configuration says.
 */
static char *rename_server(struct kube_transfer *t, const struct kube_config *config)
{
	CURLU *url = curl_url();
	char *host = NULL, *port = NULL, *renamed = NULL, *result;
	_cleanup_free_ char *to = NULL, *header = NULL;

	curl_url_set(url, CURLUPART_URL, config->server, 0);
	if (curl_url_get(url, CURLUPART_HOST, &host, 0) ||
	    curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) ||
	    curl_url_set(url, CURLUPART_HOST, config->server_name, 0) ||
	    curl_url_get(url, CURLUPART_URL, &renamed, CURLU_NO_DEFAULT_PORT)) {
		result = xstrdup(config->server);
	} else {
		to = xasprintf("::%s:%s", host, port);
		header = xasprintf("Host: %s:%s", host, port);
		t->connect_to = curl_slist_append(NULL, to);
		curl_easy_setopt(t->easy, CURLOPT_CONNECT_TO, t->connect_to);
		add_header(t, header);
		result = xstrdup(renamed);
		if (result[strlen(result) - 1] == '/')
			result[strlen(result) - 1] = '\0';
	}
	curl_free(host);
	curl_free(port);
	curl_free(renamed);
	curl_url_cleanup(url);
	return result;
}

/*
 * As kubectl has it: the kubeconfig's proxy is for every server, NO_PROXY is about those of the
 * environment; and a SOCKS proxy resolves the server's name itself, which may be known nowhere
 * else.
 */
static void set_proxy(struct kube_transfer *t, const char *url)
{
	static const char socks5[] = "socks5://";
	_cleanup_free_ char *remote = NULL;

	if (!strncasecmp(url, socks5, strlen(socks5)))
		remote = xasprintf("socks5h://%s", url + strlen(socks5));
	curl_easy_setopt(t->easy, CURLOPT_PROXY, remote ?: url);
	curl_easy_setopt(t->easy, CURLOPT_NOPROXY, "");
}

static void set_url(struct kube_transfer *t, const struct kube_config *config)
{
	_cleanup_free_ char *server =
		config->server_name ? rename_server(t, config) : xstrdup(config->server);
	_cleanup_free_ char *url = xasprintf("%s%s", server, t->call->path);

	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	if (config->proxy_url)
		set_proxy(t, config->proxy_url);
}

static void set_method(struct kube_transfer *t)
{
	add_header(t, "Accept: application/json");
	if (t->call->body) {
		add_header(t, "Content-Type: application/json");
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->call->body);
	}
	curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, t->call->method);
	curl_easy_setopt(t->easy, CURLOPT_USERAGENT, "weir/" WEIR_VERSION);
	curl_easy_setopt(t->easy, CURLOPT_ACCEPT_ENCODING, "gzip");
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
}

static void set_transport(struct kube_transfer *t)
{
	CURL *easy = t->easy;

	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, t->call->fresh ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MS);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)t->call->timeout_ms);
	if (t->call->idle_ms) {
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
				 (long)(t->call->idle_ms + 999) / 1000);
	}
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 20L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, on_new_socket);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->curl_error);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
}

int kube_transfer_new(const struct kube_config *config, const struct kube_credential *credential,
		      const struct kube_call *call, void *owner, struct kube_transfer **ret,
		      char **ret_error)
{
	struct kube_transfer *t = xcalloc(1, sizeof(*t));
	int err;

	t->call = call;
	t->easy = curl_easy_init();
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, owner);
	err = set_tls(t, config, credential, ret_error);
	if (!err)
		err = set_credentials(t, config, credential, ret_error);
	if (err < 0) {
		kube_transfer_free(t);
		return err;
	}
	set_url(t, config);
	set_method(t);
	set_transport(t);
	*ret = t;
	return 0;
}

static void keep_status(void *ctx, const json_t *root)
{
	struct kube_transfer *t = ctx;

	if (json_is_object(root))
		t->status_object = json_incref((json_t *)root);
}

/* A Status, if the server of the cluster said that; a proxy before it may say anything. */
static void parse_refusal(struct kube_transfer *t)
{
	struct kube_json_handler handler = { .root = keep_status, .ctx = t };
	struct kube_json *j = kube_json_new(kube_status_keep, false, &handler);
	_cleanup_free_ char *error = NULL;

	if (is_json(t))
		kube_json_feed(j, buf_text(&t->refusal), t->refusal.len, &error);
	kube_json_free(j);
}

static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ')
			*text = ' ';
}

static void refused(struct kube_transfer *t, struct kube_result *ret)
{
	parse_refusal(t);
	ret->message = json_string_value(json_object_get(t->status_object, "message")) ?: "";
	t->error = xasprintf("HTTP status %ld%s%.300s", ret->status, *ret->message ? ": " : "",
			     ret->message);
}

void kube_transfer_result(struct kube_transfer *t, CURLcode code, struct kube_result *ret)
{
	curl_off_t retry_after = 0;

	*ret = (struct kube_result){ .status = status_of(t), .message = "", .retry_after_ms = -1 };
	if (!curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &retry_after) && retry_after > 0)
		ret->retry_after_ms = retry_after * 1000;
	if (t->content_error)
		t->error = xstrdup(t->content_error);
	else if (ret->status && ret->status / 100 != 2)
		refused(t, ret);
	else if (code)
		t->error = xstrdup(*t->curl_error ? t->curl_error : curl_easy_strerror(code));
	if (t->error)
		one_line(t->error);
	ret->good = !t->error;
	ret->error = t->error;
}
