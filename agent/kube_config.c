/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_config.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kube_config_files.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

/* What the kubelet mounts into a pod. */
#define ACCOUNT	  "/var/run/secrets/kubernetes.io/serviceaccount"
#define MAX_FILE  (1 << 20)
#define AUTHORITY "certificate-authority-data"

#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

bool kube_config_changed(const struct kube_config *c)
{
	uint64_t now = c->files ? kube_config_files_stamp(c->files) : 0;

	return now && now != c->stamp;
}

void kube_config_seen(struct kube_config *c)
{
	c->stamp = kube_config_files_stamp(c->files);
}

bool kube_config_in_cluster(void)
{
	return getenv("KUBERNETES_SERVICE_HOST") && getenv("KUBERNETES_SERVICE_PORT");
}

static int load_in_cluster(struct kube_config *c, char **ret_error)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST");
	const char *port = getenv("KUBERNETES_SERVICE_PORT");

	if (!host || !port)
		return fail(ret_error, "not in a cluster: KUBERNETES_SERVICE_HOST and "
				       "KUBERNETES_SERVICE_PORT are not set; name a file with "
				       "--kubeconfig");
	c->server = xasprintf(strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host, port);
	c->token_file = xstrdup(ACCOUNT "/token");
	c->ca.file = xstrdup(ACCOUNT "/ca.crt");
	return 0;
}

/* A string member; NULL when absent. */
static char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text && *text ? xstrdup(text) : NULL;
}

/* KEY-data beats KEY, as in kubectl. */
static int pem_of(const json_t *o, const char *key, struct kube_pem *ret, char **ret_error)
{
	_cleanup_free_ char *data_key = xasprintf("%s-data", key);
	_cleanup_free_ char *data = text_of(o, data_key);
	size_t len;

	if (!data)
		ret->file = text_of(o, key);
	else if (base64_decode(data, &ret->data, &len) < 0)
		return fail(ret_error, "%s is not base64", data_key);
	return 0;
}

static int read_cluster(struct kube_config *c, const json_t *cluster, char **ret_error)
{
	size_t len;

	c->server = text_of(cluster, "server");
	if (!c->server)
		return fail(ret_error, "the cluster has no server");
	if (strncmp(c->server, "https://", 8) && strncmp(c->server, "http://", 7))
		return fail(ret_error, "server: '%s' is no URL", c->server);
	for (len = strlen(c->server); c->server[len - 1] == '/'; len--)
		c->server[len - 1] = '\0';
	c->insecure = json_is_true(json_object_get(cluster, "insecure-skip-tls-verify"));
	c->server_name = text_of(cluster, "tls-server-name");
	c->proxy_url = text_of(cluster, "proxy-url");
	return pem_of(cluster, "certificate-authority", &c->ca, ret_error);
}

static char **strings_of(const json_t *list)
{
	char **strings = xcalloc(json_array_size(list) + 1, sizeof(*strings));
	const json_t *item;
	size_t i, n = 0;

	json_array_foreach (list, i, item)
		if (json_is_string(item))
			strings[n++] = xstrdup(json_string_value(item));
	return strings;
}

static char **env_of(const json_t *list)
{
	char **env = xcalloc(json_array_size(list) + 1, sizeof(*env));
	const json_t *item;
	size_t i, n = 0;

	json_array_foreach (list, i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));
		const char *value = json_string_value(json_object_get(item, "value"));

		if (name && *name)
			env[n++] = xasprintf("%s=%s", name, value ?: "");
	}
	return env;
}

/* A plugin is told the authority itself, wherever it stands. */
static void add_authority(const struct kube_config *c, json_t *cluster)
{
	const char *said = json_string_value(json_object_get(cluster, AUTHORITY));
	_cleanup_free_ char *pem = NULL, *error = NULL, *text = NULL;

	if ((said && *said) || kube_pem_read(&c->ca, &pem, &error) || !pem)
		return;
	text = base64_encode(pem, strlen(pem));
	json_object_set_new(cluster, AUTHORITY, json_string(text));
}

/* The cluster as a plugin is told it: kubeconfig's fields, and the extension that is meant for it.
 */
static json_t *cluster_for_plugin(const struct kube_config *c, const json_t *cluster)
{
	static const char *const fields[] = { "server", "tls-server-name",
					      "insecure-skip-tls-verify", AUTHORITY, "proxy-url" };
	const json_t *item;
	json_t *result = json_object();
	size_t i;

	for (i = 0; i < ARRAY_SIZE(fields); i++)
		if (json_object_get(cluster, fields[i]))
			json_object_set(result, fields[i], json_object_get(cluster, fields[i]));
	add_authority(c, result);
	json_array_foreach (json_object_get(cluster, "extensions"), i, item) {
		const char *name = json_string_value(json_object_get(item, "name"));

		if (name && !strcmp(name, "client.authentication.k8s.io/exec"))
			json_object_set(result, "config", json_object_get(item, "extension"));
	}
	return result;
}

static int read_exec(struct kube_config *c, const json_t *exec, const json_t *cluster,
		     char **ret_error)
{
	const char *mode = json_string_value(json_object_get(exec, "interactiveMode"));
	struct kube_exec_spec *e = &c->exec;

	if (!exec || json_is_null(exec))
		return 0;
	e->api_version = text_of(exec, "apiVersion");
	if (!e->api_version || (strcmp(e->api_version, "client.authentication.k8s.io/v1") &&
				strcmp(e->api_version, "client.authentication.k8s.io/v1beta1")))
		return fail(ret_error,
			    "exec.apiVersion: %s, not client.authentication.k8s.io/v1 or v1beta1",
			    e->api_version ?: "missing");
	if (mode && !strcmp(mode, "Always"))
		return fail(ret_error, "exec.interactiveMode: Always, but an agent has no "
				       "terminal");
	e->command = text_of(exec, "command");
	if (!e->command)
		return fail(ret_error, "exec.command is missing");
	e->args = strings_of(json_object_get(exec, "args"));
	e->env = env_of(json_object_get(exec, "env"));
	e->install_hint = text_of(exec, "installHint");
	if (json_is_true(json_object_get(exec, "provideClusterInfo")))
		e->cluster = cluster_for_plugin(c, cluster);
	return 0;
}

/* -- impersonation: another user's name in headers -------------------------------------------- */

static int add_header(struct kube_config *c, const char *name, const json_t *value,
		      char **ret_error)
{
	const char *text = json_string_value(value);
	size_t n = 0;

	if (!text || strpbrk(text, "\r\n"))
		return fail(ret_error, "%s: a string of one line is expected", name);
	while (c->headers && c->headers[n])
		n++;
	c->headers = xrealloc(c->headers, (n + 2) * sizeof(*c->headers));
	c->headers[n] = xasprintf("%s: %s", name, text);
	c->headers[n + 1] = NULL;
	return 0;
}

static int add_headers(struct kube_config *c, const char *name, const json_t *values,
		       char **ret_error)
{
	const json_t *value;
	size_t i;
	int err = 0;

	json_array_foreach (values, i, value)
		err = err ?: add_header(c, name, value, ret_error);
	return err;
}

/* What no header's name may hold is written as in a URL. */
static char *extra_name(const char *key)
{
	static const char token[] = "!#$&'*+-.^_`|~";
	_cleanup_buf_ struct buf b = { 0 };

	buf_str(&b, "Impersonate-Extra-");
	for (const unsigned char *p = (const unsigned char *)key; *p; p++)
		buf_printf(&b, isalnum(*p) || strchr(token, *p) ? "%c" : "%%%02X", *p);
	return xstrdup(buf_text(&b));
}

static int read_impersonation(struct kube_config *c, const json_t *user, char **ret_error)
{
	const json_t *name = json_object_get(user, "as"), *uid = json_object_get(user, "as-uid");
	const json_t *groups = json_object_get(user, "as-groups");
	json_t *extra = json_object_get(user, "as-user-extra"), *values;
	const char *key;
	int err;

	if (!name)
		return uid || groups || extra
			       ? fail(ret_error, "as-uid, as-groups and as-user-extra need as")
			       : 0;
	err = add_header(c, "Impersonate-User", name, ret_error);
	if (!err && uid)
		err = add_header(c, "Impersonate-Uid", uid, ret_error);
	if (!err)
		err = add_headers(c, "Impersonate-Group", groups, ret_error);
	json_object_foreach (extra, key, values) {
		_cleanup_free_ char *header = extra_name(key);

		err = err ?: add_headers(c, header, values, ret_error);
	}
	return err;
}

static int read_user(struct kube_config *c, const json_t *user, const json_t *cluster,
		     char **ret_error)
{
	int err = pem_of(user, "client-certificate", &c->cert, ret_error);

	if (!err)
		err = pem_of(user, "client-key", &c->key, ret_error);
	if (err < 0)
		return err;
	if (json_object_get(user, "auth-provider"))
		return fail(ret_error, "auth-provider is not supported (Kubernetes removed it in "
				       "1.26): use exec");
	err = read_impersonation(c, user, ret_error);
	if (err < 0)
		return err;
	c->token = text_of(user, "token");
	c->token_file = text_of(user, "tokenFile");
	c->username = text_of(user, "username");
	c->password = text_of(user, "password");
	return read_exec(c, json_object_get(user, "exec"), cluster, ret_error);
}

/* An item of one of kubeconfig's lists: {name: ..., KIND: {...}}. */
static int find_named(const json_t *root, const char *list, const char *kind, const char *name,
		      const json_t **ret, char **ret_error)
{
	const json_t *item;
	size_t i;

	json_array_foreach (json_object_get(root, list), i, item) {
		const char *its = json_string_value(json_object_get(item, "name"));

		if (!its || strcmp(its, name))
			continue;
		*ret = json_object_get(item, kind);
		return 0;
	}
	return fail(ret_error, "there is no %s named '%s'", kind, name);
}

static int read_root(struct kube_config *c, const json_t *root, char **ret_error)
{
	const char *current = json_string_value(json_object_get(root, "current-context"));
	const char *cluster_name, *user_name;
	const json_t *context, *cluster, *user = NULL;
	int err;

	if (!current || !*current)
		return fail(ret_error, "current-context is missing");
	err = find_named(root, "contexts", "context", current, &context, ret_error);
	if (err < 0)
		return err;
	cluster_name = json_string_value(json_object_get(context, "cluster"));
	user_name = json_string_value(json_object_get(context, "user"));
	if (!cluster_name)
		return fail(ret_error, "context '%s' names no cluster", current);
	err = find_named(root, "clusters", "cluster", cluster_name, &cluster, ret_error);
	if (!err && user_name && *user_name)
		err = find_named(root, "users", "user", user_name, &user, ret_error);
	if (!err)
		err = read_cluster(c, cluster, ret_error);
	return err < 0 ? err : read_user(c, user, cluster, ret_error);
}

static int load_kubeconfig(struct kube_config *c, const char *files, char **ret_error)
{
	_cleanup_free_ char *error = NULL;
	json_t *root = NULL;
	int err;

	c->files = xstrdup(files);
	kube_config_seen(c); /* first: what is written meanwhile is read again */
	err = kube_config_files_read(files, &root, ret_error);
	if (err < 0)
		return err;
	err = read_root(c, root, &error);
	json_decref(root);
	return err < 0 ? fail(ret_error, "%s: %s", files, error) : 0;
}

int kube_config_load(const char *kubeconfig, struct kube_config *ret, char **ret_error)
{
	struct kube_config c = { 0 };
	int err = kubeconfig ? load_kubeconfig(&c, kubeconfig, ret_error)
			     : load_in_cluster(&c, ret_error);

	if (err < 0)
		kube_config_free(&c);
	else
		*ret = c;
	return err;
}

static void strings_free(char **strings)
{
	for (size_t i = 0; strings && strings[i]; i++)
		free(strings[i]);
	free(strings);
}

static void pem_free(struct kube_pem *pem)
{
	free(pem->data);
	free(pem->file);
}

void kube_config_free(struct kube_config *c)
{
	pem_free(&c->ca);
	pem_free(&c->cert);
	pem_free(&c->key);
	free(c->files);
	free(c->server);
	free(c->server_name);
	free(c->proxy_url);
	free(c->token);
	free(c->token_file);
	free(c->username);
	free(c->password);
	free(c->exec.command);
	free(c->exec.api_version);
	free(c->exec.install_hint);
	strings_free(c->exec.args);
	strings_free(c->exec.env);
	strings_free(c->headers);
	json_decref(c->exec.cluster);
	*c = (struct kube_config){ 0 };
}

static int read_text(const char *path, char **ret, char **ret_error)
{
	size_t len;
	int err = file_read(path, MAX_FILE, ret, &len);

	if (err < 0)
		*ret_error = xasprintf("%s: %s", path, strerror(-err));
	return err;
}

int kube_pem_read(const struct kube_pem *pem, char **ret, char **ret_error)
{
	*ret = pem->data ? xstrdup(pem->data) : NULL;
	return pem->file ? read_text(pem->file, ret, ret_error) : 0;
}

int kube_config_token(const struct kube_config *c, char **ret, char **ret_error)
{
	_cleanup_free_ char *token = NULL;
	int err;

	if (!c->token_file) {
		*ret = c->token ? xstrdup(c->token) : NULL;
		return 0;
	}
	err = read_text(c->token_file, &token, ret_error);
	if (err < 0)
		return err;
	token[strcspn(token, " \r\n\t")] = '\0';
	if (!*token)
		return fail(ret_error, "%s is empty", c->token_file);
	*ret = TAKE_PTR(token);
	return 0;
}
