/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/web_config.h"

#include <crypt.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/yaml.h"

#define MAX_FILE   (1 << 20)
#define BCRYPT_LEN 60

#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

struct load {
	const char *file;
	struct web_config *config;
	char **ret_error;
};

static void look(struct web_file *f)
{
	struct stat st;

	if (stat(f->path, &st) < 0)
		return;
	f->mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
	f->size = st.st_size;
	f->inode = st.st_ino;
}

/* Its state is taken first: what is written while it is read counts as a change. */
static int read_file(struct load *l, const char *path, char **ret, size_t *ret_len)
{
	struct web_config *c = l->config;
	struct web_file f = { .path = xstrdup(path) };
	int err;

	look(&f);
	list_append(c->files, c->n_files, f);
	err = file_read(path, MAX_FILE, ret, ret_len);
	if (err)
		*l->ret_error = xasprintf("%s: %s", path, strerror(-err));
	return err;
}

bool web_config_changed(const struct web_config *c)
{
	for (size_t i = 0; i < c->n_files; i++) {
		const struct web_file *was = &c->files[i];
		struct web_file now = *was;

		look(&now);
		if (now.mtime_ns != was->mtime_ns || now.size != was->size ||
		    now.inode != was->inode)
			return true;
	}
	return false;
}

/* A mapping that holds none but these keys; NULL ends them. */
static int check_keys(const struct load *l, json_t *o, const char *where, const char *const *keys)
{
	const char *key;
	json_t *value;

	if (!json_is_object(o))
		return fail(l->ret_error, "%s: %s is no mapping", l->file, where);
	json_object_foreach (o, key, value) {
		size_t i = 0;

		while (keys[i] && strcmp(keys[i], key))
			i++;
		if (!keys[i])
			return fail(l->ret_error, "%s: %s: unknown field %s", l->file, where, key);
	}
	return 0;
}

/* A string member; NULL when it is absent or empty. */
static int text_of(const struct load *l, json_t *o, const char *key, const char **ret)
{
	json_t *value = json_object_get(o, key);

	if (value && !json_is_null(value) && !json_is_string(value))
		return fail(l->ret_error, "%s: %s is no text", l->file, key);
	*ret = json_string_value(value);
	if (*ret && !**ret)
		*ret = NULL;
	return 0;
}

/* KEY has the text itself, KEY_file names a file of it. */
static int pem_of(struct load *l, json_t *o, const char *key, char **ret)
{
	_cleanup_free_ char *file_key = xasprintf("%s_file", key), *path = NULL;
	const char *slash = strrchr(l->file, '/'), *name, *text;
	size_t len;
	int err = text_of(l, o, key, &text);

	if (!err)
		err = text_of(l, o, file_key, &name);
	if (err || (!text && !name))
		return err;
	if (text && name)
		return fail(l->ret_error, "%s: both %s and %s are given", l->file, key, file_key);
	if (text) {
		*ret = xstrdup(text);
		return 0;
	}
	path = *name == '/' || !slash ? xstrdup(name)
				      : xasprintf("%.*s/%s", (int)(slash - l->file), l->file, name);
	return read_file(l, path, ret, &len);
}

/* What a word stands for; rows end with one that has none. */
struct word {
	const char *text;
	const char *gnutls;
	int value;
};

static const struct word versions[] = {
	{ "TLS10", "VERS-TLS1.0", 0 },
	{ "TLS11", "VERS-TLS1.1", 1 },
	{ "TLS12", "VERS-TLS1.2", 2 },
	{ "TLS13", "VERS-TLS1.3", 3 },
	{ 0 },
};

static const struct word curves[] = {
	{ "CurveP256", "GROUP-SECP256R1", 0 },
	{ "CurveP384", "GROUP-SECP384R1", 0 },
	{ "CurveP521", "GROUP-SECP521R1", 0 },
	{ "X25519", "GROUP-X25519", 0 },
	{ 0 },
};

static const struct word policies[] = {
	{ "NoClientCert", NULL, WEB_NO_CLIENT_CERT },
	{ "RequestClientCert", NULL, WEB_REQUEST_CLIENT_CERT },
	{ "RequireAnyClientCert", NULL, WEB_REQUIRE_ANY_CLIENT_CERT },
	{ "RequireClientCert", NULL, WEB_REQUIRE_ANY_CLIENT_CERT },
	{ "VerifyClientCertIfGiven", NULL, WEB_VERIFY_CLIENT_CERT_IF_GIVEN },
	{ "RequireAndVerifyClientCert", NULL, WEB_REQUIRE_AND_VERIFY_CLIENT_CERT },
	{ 0 },
};

static int word_of(const struct load *l, const struct word *words, const char *key,
		   const char *text, const struct word **ret)
{
	for (const struct word *w = words; w->text; w++)
		if (!strcmp(w->text, text)) {
			*ret = w;
			return 0;
		}
	return fail(l->ret_error, "%s: %s: \"%s\" is none that is known", l->file, key, text);
}

static int version_of(const struct load *l, json_t *o, const char *key, const char *otherwise,
		      int *ret)
{
	const struct word *word;
	const char *text;
	int err = text_of(l, o, key, &text);

	if (!err)
		err = word_of(l, versions, key, text ?: otherwise, &word);
	if (!err)
		*ret = word->value;
	return err;
}

static int add_versions(const struct load *l, json_t *o, struct buf *priority)
{
	int least = 0, most = 0, err = version_of(l, o, "min_version", "TLS12", &least);

	if (!err)
		err = version_of(l, o, "max_version", "TLS13", &most);
	if (err)
		return err;
	if (least > most)
		return fail(l->ret_error, "%s: min_version is above max_version", l->file);
	buf_str(priority, "NORMAL:-VERS-ALL");
	for (int i = most; i >= least; i--)
		buf_printf(priority, ":+%s", versions[i].gnutls);
	return 0;
}

static int add_curves(const struct load *l, json_t *o, struct buf *priority)
{
	json_t *list = json_object_get(o, "curve_preferences"), *value;
	size_t i;

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list))
		return fail(l->ret_error, "%s: curve_preferences is no list", l->file);
	buf_str(priority, json_array_size(list) ? ":-GROUP-ALL" : "");
	json_array_foreach (list, i, value) {
		const struct word *word;
		int err = word_of(l, curves, "curve_preferences", json_string_value(value) ?: "",
				  &word);

		if (err)
			return err;
		buf_printf(priority, ":+%s", word->gnutls);
	}
	return 0;
}

static int load_priority(struct load *l, json_t *o)
{
	_cleanup_buf_ struct buf priority = { 0 };
	int err = add_versions(l, o, &priority);

	if (!err)
		err = add_curves(l, o, &priority);
	if (!err && json_array_size(json_object_get(o, "cipher_suites")))
		err = fail(l->ret_error,
			   "%s: cipher_suites: only the safe ones are there, and none can be "
			   "chosen; leave the field out",
			   l->file);
	if (!err)
		l->config->priority = xstrdup(buf_text(&priority));
	return err;
}

static int load_sans(struct load *l, json_t *o)
{
	json_t *list = json_object_get(o, "client_allowed_sans"), *value;
	struct web_config *c = l->config;
	size_t i;

	if (list && !json_is_null(list) && !json_is_array(list))
		return fail(l->ret_error, "%s: client_allowed_sans is no list", l->file);
	json_array_foreach (list, i, value) {
		if (!json_is_string(value))
			return fail(l->ret_error, "%s: client_allowed_sans holds what is no text",
				    l->file);
		list_append(c->sans, c->n_sans, xstrdup(json_string_value(value)));
	}
	return 0;
}

static int load_clients(struct load *l, json_t *o)
{
	struct web_config *c = l->config;
	const struct word *policy = policies;
	const char *text;
	int err = text_of(l, o, "client_auth_type", &text);

	if (!err && text)
		err = word_of(l, policies, "client_auth_type", text, &policy);
	if (!err)
		err = pem_of(l, o, "client_ca", &c->client_ca);
	if (!err)
		err = load_sans(l, o);
	if (err)
		return err;
	c->client_auth = policy->value;
	if ((c->client_ca || c->n_sans) && c->client_auth == WEB_NO_CLIENT_CERT)
		return fail(l->ret_error,
			    "%s: clients are to be known, but client_auth_type says that none is "
			    "asked",
			    l->file);
	if (!c->client_ca && c->client_auth >= WEB_VERIFY_CLIENT_CERT_IF_GIVEN)
		return fail(l->ret_error, "%s: client_auth_type %s needs client_ca_file", l->file,
			    policy->text);
	return 0;
}

static int load_tls(struct load *l, json_t *o)
{
	static const char *const keys[] = { "cert_file",
					    "key_file",
					    "cert",
					    "key",
					    "client_auth_type",
					    "client_ca_file",
					    "client_ca",
					    "client_allowed_sans",
					    "min_version",
					    "max_version",
					    "cipher_suites",
					    "prefer_server_cipher_suites",
					    "curve_preferences",
					    NULL };
	struct web_config *c = l->config;
	int err;

	if (!o || json_is_null(o))
		return 0;
	err = check_keys(l, o, "tls_server_config", keys);
	if (err || !json_object_size(o))
		return err;
	c->tls = true;
	err = pem_of(l, o, "cert", &c->cert);
	if (!err)
		err = pem_of(l, o, "key", &c->key);
	if (!err && (!c->cert || !c->key))
		err = fail(l->ret_error, "%s: tls_server_config needs cert_file and key_file",
			   l->file);
	if (!err)
		err = load_priority(l, o);
	return err ?: load_clients(l, o);
}

/* Those that may be set; a value that does not fit would only seem to protect. */
static int check_header(const struct load *l, const char *name, const char *value)
{
	static const struct {
		const char *name;
		const char *values[3]; /* none: any */
	} known[] = {
		{ "Content-Security-Policy", { 0 } },
		{ "Strict-Transport-Security", { 0 } },
		{ "X-Content-Type-Options", { "nosniff" } },
		{ "X-Frame-Options", { "deny", "sameorigin" } },
		{ "X-XSS-Protection", { 0 } },
	};
	size_t i = 0, v = 0;

	while (i < ARRAY_SIZE(known) && strcasecmp(known[i].name, name))
		i++;
	if (i == ARRAY_SIZE(known))
		return fail(l->ret_error, "%s: header %s cannot be set", l->file, name);
	while (known[i].values[v] && strcasecmp(known[i].values[v], value))
		v++;
	if ((v || known[i].values[0]) && !known[i].values[v])
		return fail(l->ret_error, "%s: header %s cannot be \"%s\"", l->file, name, value);
	if (strpbrk(value, "\r\n"))
		return fail(l->ret_error, "%s: header %s has a line break", l->file, name);
	return 0;
}

static int load_headers(struct load *l, json_t *o)
{
	static const char *const keys[] = { "http2", "headers", NULL };
	struct web_config *c = l->config;
	json_t *headers = json_object_get(o, "headers"), *value;
	const char *name;
	int err = o && !json_is_null(o) ? check_keys(l, o, "http_server_config", keys) : 0;

	if (err || !headers || json_is_null(headers))
		return err;
	if (!json_is_object(headers))
		return fail(l->ret_error, "%s: headers is no mapping", l->file);
	json_object_foreach (headers, name, value) {
		const char *text = json_string_value(value) ?: "";

		err = check_header(l, name, text);
		if (err)
			return err;
		if (*text && strcasecmp(name, "X-Content-Type-Options")) /* is there anyway */
			list_append(c->headers, c->n_headers,
				    ((struct web_header){ xstrdup(name), xstrdup(text) }));
	}
	return 0;
}

static bool is_bcrypt(const char *hash)
{
	return hash && strlen(hash) == BCRYPT_LEN && hash[0] == '$' && hash[1] == '2' &&
	       strchr("aby", hash[2]) && hash[3] == '$' && crypt_checksalt(hash) == CRYPT_SALT_OK;
}

static int load_users(struct load *l, json_t *o)
{
	struct web_config *c = l->config;
	const char *name;
	json_t *value;

	if (o && !json_is_null(o) && !json_is_object(o))
		return fail(l->ret_error, "%s: basic_auth_users is no mapping", l->file);
	json_object_foreach (o, name, value) {
		const char *hash = json_string_value(value);

		if (!is_bcrypt(hash))
			return fail(l->ret_error,
				    "%s: basic_auth_users: %s: not a hash as `htpasswd -nB` "
				    "prints it (bcrypt)",
				    l->file, name);
		list_append(c->users, c->n_users,
			    ((struct web_user){ xstrdup(name), xstrdup(hash) }));
	}
	return 0;
}

static int load(struct load *l, json_t *root)
{
	static const char *const keys[] = { "tls_server_config", "http_server_config",
					    "basic_auth_users", NULL };
	int err = json_is_null(root) ? 0 : check_keys(l, root, "it", keys);

	if (!err)
		err = load_tls(l, json_object_get(root, "tls_server_config"));
	if (!err)
		err = load_headers(l, json_object_get(root, "http_server_config"));
	if (!err)
		err = load_users(l, json_object_get(root, "basic_auth_users"));
	return err;
}

int web_config_load(const char *file, struct web_config *ret, char **ret_error)
{
	_cleanup_web_config_ struct web_config config = { 0 };
	_cleanup_free_ char *text = NULL, *reason = NULL;
	struct load l = { file, &config, ret_error };
	json_t *root = NULL;
	size_t len;
	int err = read_file(&l, file, &text, &len);

	if (err)
		return err;
	if (yaml_load(text, len, &root, &reason) < 0)
		return fail(ret_error, "%s: %s", file, reason);
	err = load(&l, root);
	json_decref(root);
	if (err)
		return err;
	*ret = config;
	config = (struct web_config){ 0 };
	return 0;
}

void web_config_free(struct web_config *c)
{
	for (size_t i = 0; i < c->n_files; i++)
		free(c->files[i].path);
	for (size_t i = 0; i < c->n_sans; i++)
		free(c->sans[i]);
	for (size_t i = 0; i < c->n_users; i++) {
		free(c->users[i].name);
		free(c->users[i].hash);
	}
	for (size_t i = 0; i < c->n_headers; i++) {
		free(c->headers[i].name);
		free(c->headers[i].value);
	}
	free(c->files);
	free(c->cert);
	free(c->key);
	free(c->client_ca);
	free(c->sans);
	free(c->priority);
	free(c->users);
	free(c->headers);
	*c = (struct web_config){ 0 };
}
