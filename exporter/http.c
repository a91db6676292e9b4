/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "exporter/access.h"
#include "exporter/clients.h"
#include "exporter/deliveries.h"
#include "exporter/gzip.h"
#include "exporter/listen.h"
#include "exporter/negotiate.h"

#define DEFAULT_CONNECTIONS 64
#define DEFAULT_TIMEOUT_S   30

/* While there are clients, their time is looked at this often. */
#define WATCH_MS 1000

struct http {
	struct http_options options;
	struct MHD_Daemon *daemon;
	struct access *access;
	struct clients clients;
	struct deliveries deliveries;
	bool watching; /* there were clients at the last run */
	uint16_t port;
};

/* What a handler answers. */
struct reply {
	uint64_t number; /* of the scrape; 0: it is none */
	unsigned int status;
	const char *type;
	const char *allow; /* methods, with 405 */
	bool asks; /* for a name and a password, with 401 */
	bool varies; /* by the request's Accept and Accept-Encoding */
	bool gzip;
	struct buf body;
};

static const char *header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static void reply_text(struct reply *reply, unsigned int status, const char *text)
{
	reply->status = status;
	reply->type = "text/plain; charset=utf-8";
	buf_free(&reply->body);
	buf_printf(&reply->body, "%s\n", text);
}

static void serve_metrics(struct http *h, struct MHD_Connection *connection, struct reply *reply)
{
	const struct http_options *o = &h->options;
	enum render_format format = negotiate_format(header(connection, MHD_HTTP_HEADER_ACCEPT));
	int err;

	deliveries_settle(&h->deliveries, o->delivered, o->ctx);
	err = o->metrics ? o->metrics(o->ctx, format, &reply->body, &reply->number) : 0;

	if (!o->metrics) {
		reply_text(reply, MHD_HTTP_NOT_FOUND, "there are no metrics here");
		return;
	}
	if (err) {
		char text[128];

		snprintf(text, sizeof(text), "the metrics could not be read: %s", strerror(-err));
		reply_text(reply, MHD_HTTP_INTERNAL_SERVER_ERROR, text);
		return;
	}
	reply->status = MHD_HTTP_OK;
	reply->type = negotiate_content_type(format);
	reply->varies = true;
	if (negotiate_gzip(header(connection, MHD_HTTP_HEADER_ACCEPT_ENCODING)))
		reply->gzip = !gzip_body(&reply->body);
}

static void serve_health(struct http *h, struct MHD_Connection *connection, struct reply *reply)
{
	(void)h;
	(void)connection;
	reply_text(reply, MHD_HTTP_OK, "ok");
}

static void serve_ready(struct http *h, struct MHD_Connection *connection, struct reply *reply)
{
	const struct http_options *o = &h->options;
	_cleanup_buf_ struct buf text = { 0 };
	bool ready = !o->ready || o->ready(o->ctx, &text);

	(void)connection;
	if (!text.len)
		buf_str(&text, ready ? "ready" : "not ready");
	reply_text(reply, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, buf_text(&text));
}

static void add_html(struct buf *out, const char *text)
{
	for (const char *p = text; *p; p++) {
		if (strchr("<>&\"'", *p))
			buf_printf(out, "&#%d;", *p);
		else
			buf_add(out, p, 1);
	}
}

static void add_link(struct buf *out, const char *path, const char *text)
{
	buf_str(out, "<li><a href=\"");
	add_html(out, path);
	buf_printf(out, "\">%s</a></li>\n", text);
}

static void serve_landing(struct http *h, struct MHD_Connection *connection, struct reply *reply)
{
	const struct http_options *o = &h->options;
	struct buf *out = &reply->body;

	(void)connection;
	buf_str(out,
		"<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"UTF-8\">\n<title>");
	add_html(out, o->name);
	buf_str(out, "</title>\n<style>\nbody { font-family: sans-serif; margin: 0; }\n"
		     "header { background: #e6522c; color: #fff; padding: 1px 1em; }\n"
		     "main { padding: 1em; }\n</style>\n</head>\n<body>\n<header><h1>");
	add_html(out, o->name);
	buf_str(out, "</h1></header>\n<main>\n<h2>");
	add_html(out, o->description ? o->description : "");
	buf_str(out, "</h2>\n<div>Version: ");
	add_html(out, o->version ? o->version : "unknown");
	buf_str(out, "</div>\n<ul>\n");
	add_link(out, o->telemetry_path, "Metrics");
	add_link(out, "/healthz", "Health");
	add_link(out, "/readyz", "Readiness");
	buf_str(out, "</ul>\n</main>\n</body>\n</html>\n");
	reply->status = MHD_HTTP_OK;
	reply->type = "text/html; charset=UTF-8";
}

/* The telemetry path, which may be "/", goes before these. */
static const struct route {
	const char *path;
	void (*serve)(struct http *h, struct MHD_Connection *connection, struct reply *reply);
} routes[] = {
	{ "/healthz", serve_health },
	{ "/readyz", serve_ready },
	{ "/", serve_landing },
};

static void route(struct http *h, struct MHD_Connection *connection, const char *path,
		  struct reply *reply)
{
	if (!strcmp(path, h->options.telemetry_path)) {
		serve_metrics(h, connection, reply);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		if (!strcmp(path, routes[i].path)) {
			routes[i].serve(h, connection, reply);
			return;
		}
	reply_text(reply, MHD_HTTP_NOT_FOUND, "not found");
}

/* Whether it is alive may be asked by anybody: who asks that has no password. */
static bool is_open(const char *path)
{
	return !strcmp(path, "/healthz") || !strcmp(path, "/readyz");
}

/* Answers itself when the client may not ask for this. */
static bool may_ask(struct http *h, struct MHD_Connection *connection, const char *path,
		    struct reply *reply)
{
	enum access_verdict verdict = ACCESS_GRANTED;
	char *name, *password = NULL;

	if (is_open(path))
		return true;
	name = MHD_basic_auth_get_username_password(connection, &password);
	verdict = access_check(h->access, name, password);
	MHD_free(name);
	MHD_free(password);
	if (verdict == ACCESS_DENIED) {
		reply->asks = true;
		reply_text(reply, MHD_HTTP_UNAUTHORIZED, "Unauthorized");
	} else if (verdict == ACCESS_BUSY) {
		reply_text(reply, MHD_HTTP_SERVICE_UNAVAILABLE,
			   "other passwords are being looked at");
	}
	return verdict == ACCESS_GRANTED;
}

static struct client *client_of(struct MHD_Connection *connection)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return info ? info->socket_context : NULL;
}

static void renew(struct http *h, struct MHD_Connection *connection)
{
	struct client *client = client_of(connection);

	if (client)
		clients_renew(&h->clients, client);
}

/* Whoever asks again has got what it was given before. */
static void begin_request(struct http *h, struct MHD_Connection *connection)
{
	struct client *client = client_of(connection);

	if (client)
		deliveries_asked(&h->deliveries, client->fd, h->options.delivered, h->options.ctx);
}

/* A scrape is only seen by those who are given what it says: HEAD is not. */
static void note_scrape(struct MHD_Connection *connection, const struct reply *reply,
			const char *method)
{
	struct client *client = client_of(connection);

	if (client)
		client->scrape = strcmp(method, MHD_HTTP_METHOD_HEAD) ? reply->number : 0;
}

static enum MHD_Result send_reply(struct http *h, struct MHD_Connection *connection,
				  struct reply *reply)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	response = MHD_create_response_from_buffer(reply->body.len, reply->body.data,
						   MHD_RESPMEM_MUST_FREE);
	if (!response) {
		buf_free(&reply->body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
	MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
	for (size_t i = 0; i < access_config(h->access)->n_headers; i++)
		MHD_add_response_header(response, access_config(h->access)->headers[i].name,
					access_config(h->access)->headers[i].value);
	if (reply->asks)
		MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Basic");
	if (reply->varies)
		MHD_add_response_header(response, MHD_HTTP_HEADER_VARY, "Accept, Accept-Encoding");
	if (reply->gzip)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
	if (reply->allow) {
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, reply->allow);
		/* A body that nobody will read may follow. */
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	}
	result = MHD_queue_response(connection, reply->status, response);
	MHD_destroy_response(response);
	renew(h, connection);
	return result;
}

/* Called when the head of a request is complete, for each piece of its body, and at its end. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *upload_data,
				  size_t *upload_data_size, void **request)
{
	static char known;
	struct http *h = cls;
	struct reply reply = { 0 };

	(void)version;
	(void)upload_data;
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD)) {
		reply.allow = "GET, HEAD";
		reply_text(&reply, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
		return send_reply(h, connection, &reply);
	}
	if (!*request) {
		*request = &known;
		begin_request(h, connection);
		return MHD_YES;
	}
	if (*upload_data_size) {
		*upload_data_size = 0;
		return MHD_YES;
	}
	if (may_ask(h, connection, url, &reply))
		route(h, connection, url, &reply);
	note_scrape(connection, &reply, method);
	return send_reply(h, connection, &reply);
}

/* Before its handshake each session gets what the files say now. */
static void dress(struct http *h, struct MHD_Connection *connection, struct client *client)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	access_refresh(h->access);
	if (info && info->tls_session && access_tls(h->access))
		client->tls = tls_dress(access_tls(h->access), info->tls_session);
}

static void on_connection(void *cls, struct MHD_Connection *connection, void **context,
			  enum MHD_ConnectionNotificationCode code)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct http *h = cls;

	if (code == MHD_CONNECTION_NOTIFY_STARTED && info) {
		*context = clients_add(&h->clients, info->connect_fd);
		dress(h, connection, *context);
	} else if (code == MHD_CONNECTION_NOTIFY_CLOSED && *context) {
		tls_unref(((struct client *)*context)->tls);
		clients_remove(&h->clients, *context);
	}
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **request,
			 enum MHD_RequestTerminationCode code)
{
	struct client *client = client_of(connection);
	struct http *h = cls;

	(void)request;
	if (client && client->scrape && code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		deliveries_add(&h->deliveries, client->fd, client->scrape);
	if (client)
		client->scrape = 0;
	renew(h, connection);
}

static void on_log(void *cls, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
static void on_log(void *cls, const char *fmt, va_list ap)
{
	_cleanup_buf_ struct buf text = { 0 };

	(void)cls;
	if (!log_enabled(LOG_DEBUG))
		return;
	buf_vprintf(&text, fmt, ap);
	if (text.len && text.data[text.len - 1] == '\n')
		text.data[text.len - 1] = '\0';
	log_debug("libmicrohttpd", "text", buf_text(&text), NULL);
}

static int check_options(const struct http_options *o, char **ret_error)
{
	const char *path = o->telemetry_path;

	if (path[0] != '/' || strpbrk(path, "?#% ") || !strcmp(path, "/healthz") ||
	    !strcmp(path, "/readyz")) {
		*ret_error = xasprintf("telemetry path \"%s\" must start with \"/\", hold no blank "
				       "nor any of ?#%%, and be neither /healthz nor /readyz",
				       path);
		return -EINVAL;
	}
	return 0;
}

static int start_daemon(struct http *h, int listener, char **ret_error)
{
	const struct web_config *config = access_config(h->access);
	/* MHD wants a certificate of its own, which no session uses. */
	struct MHD_OptionItem tls[] = { { MHD_OPTION_HTTPS_MEM_CERT, 0, config->cert },
					{ MHD_OPTION_HTTPS_MEM_KEY, 0, config->key },
					{ MHD_OPTION_END, 0, NULL } };

	/* The watch over slow clients is our own (clients.h): MHD's begins anew with each byte. */
	h->daemon = MHD_start_daemon(
		MHD_USE_EPOLL | MHD_USE_ERROR_LOG | (config->tls ? MHD_USE_TLS : 0), 0, NULL, NULL,
		on_request, h, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_LISTEN_SOCKET,
		listener, MHD_OPTION_CONNECTION_LIMIT, clients_room(&h->clients),
		MHD_OPTION_NOTIFY_CONNECTION, on_connection, h, MHD_OPTION_NOTIFY_COMPLETED,
		on_completed, h, MHD_OPTION_ARRAY, config->tls ? tls : &tls[2], MHD_OPTION_END);
	if (h->daemon)
		return 0;
	*ret_error = xstrdup("the HTTP server could not be started");
	return -EIO;
}

int http_start(const struct http_options *options, struct http **ret_http, char **ret_error)
{
	struct http *h = xcalloc(1, sizeof(*h));
	int listener, err;

	h->options = *options;
	if (!h->options.telemetry_path)
		h->options.telemetry_path = "/metrics";
	if (!h->options.name)
		h->options.name = "weir";
	clients_init(&h->clients, options->connections ? options->connections : DEFAULT_CONNECTIONS,
		     options->timeout_s ? options->timeout_s : DEFAULT_TIMEOUT_S);
	err = check_options(&h->options, ret_error);
	if (!err)
		err = access_open(options->config_file, &h->access, ret_error);
	if (!err)
		err = listen_open(options->listen_address, &listener, &h->port, ret_error);
	if (!err)
		err = start_daemon(h, listener, ret_error); /* takes the listener, come what may */
	if (err)
		http_stop(h);
	else
		*ret_http = h;
	return err;
}

void http_stop(struct http *h)
{
	if (!h)
		return;
	if (h->daemon)
		MHD_stop_daemon(h->daemon);
	access_close(h->access);
	deliveries_clear(&h->deliveries);
	free(h);
}

void http_stopp(struct http **h)
{
	http_stop(*h);
	*h = NULL;
}

uint16_t http_port(const struct http *h)
{
	return h->port;
}

int http_fd(const struct http *h)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);

	return info ? info->epoll_fd : -1;
}

int http_timeout_ms(const struct http *h)
{
	int watch = h->watching || h->clients.n ? WATCH_MS : -1;
	MHD_UNSIGNED_LONG_LONG ms;

	if (MHD_get_timeout(h->daemon, &ms) != MHD_YES)
		return watch;
	return ms < WATCH_MS ? (int)ms : WATCH_MS;
}

void http_run(struct http *h)
{
	/*
	 * At its limit the server stops listening, and begins again in the run after the one in
	 * which a connection ended; so one more run follows the last client.
	 */
	h->watching = h->clients.n > 0;
	MHD_run(h->daemon);
	clients_cut_late(&h->clients); /* after what had arrived was read */
}
