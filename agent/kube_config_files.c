/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_config_files.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/yaml.h"

#define MAX_FILE (1 << 20)

/* The first name of *rest, which moves on; NULL behind the last. The caller's. */
static char *next_name(const char **rest)
{
	size_t len;

	*rest += strspn(*rest, ":");
	len = strcspn(*rest, ":");
	*rest += len;
	return len ? strndup(*rest - len, len) : NULL;
}

static bool is_one(const char *list)
{
	return !strchr(list, ':') || access(list, F_OK) == 0;
}

/* -- paths in a file are relative to it ------------------------------------------------------- */

static void resolve(const char *file, json_t *o, const char *key)
{
	const char *path = json_string_value(json_object_get(o, key));
	const char *slash = strrchr(file, '/');
	_cleanup_free_ char *whole = NULL;

	if (!path || !*path || *path == '/' || !slash)
		return;
	whole = xasprintf("%.*s/%s", (int)(slash - file), file, path);
	json_object_set_new(o, key, json_string(whole));
}

static void resolve_cluster(const char *file, json_t *cluster)
{
	resolve(file, cluster, "certificate-authority");
}

/* A plugin without a slash in its name is looked up in PATH. */
static void resolve_user(const char *file, json_t *user)
{
	static const char *const keys[] = { "client-certificate", "client-key", "tokenFile" };
	json_t *exec = json_object_get(user, "exec");
	const char *command = json_string_value(json_object_get(exec, "command"));

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		resolve(file, user, keys[i]);
	if (command && strchr(command, '/'))
		resolve(file, exec, "command");
}

/* -- several as one --------------------------------------------------------------------------- */

static const struct {
	const char *list, *kind;
	void (*resolve)(const char *file, json_t *item);
} lists[] = {
	{ "contexts", "context", NULL },
	{ "clusters", "cluster", resolve_cluster },
	{ "users", "user", resolve_user },
};

static void append(json_t *all, const json_t *one, const char *file)
{
	const char *current = json_string_value(json_object_get(one, "current-context"));
	json_t *item;
	size_t i, j;

	if (current && *current && !json_object_get(all, "current-context"))
		json_object_set_new(all, "current-context", json_string(current));
	for (i = 0; i < ARRAY_SIZE(lists); i++)
		json_array_foreach (json_object_get(one, lists[i].list), j, item) {
			if (lists[i].resolve)
				lists[i].resolve(file, json_object_get(item, lists[i].kind));
			json_array_append(json_object_get(all, lists[i].list), item);
		}
}

static int read_one(const char *file, json_t *all, char **ret_error)
{
	_cleanup_free_ char *text = NULL, *error = NULL;
	json_t *root = NULL;
	size_t len;
	int err = file_read(file, MAX_FILE, &text, &len);

	if (!err)
		err = yaml_load(text, len, &root, &error);
	if (!err && !json_is_object(root)) {
		error = xstrdup("this is no kubeconfig");
		err = -EINVAL;
	}
	if (err)
		*ret_error = xasprintf("%s: %s", file, error ?: strerror(-err));
	else
		append(all, root, file);
	json_decref(root);
	return err;
}

static int read_several(const char *list, json_t *all, char **ret_error)
{
	int err = -ENOENT;

	for (const char *rest = list; *rest && (err == 0 || err == -ENOENT);) {
		_cleanup_free_ char *file = next_name(&rest), *error = NULL;
		int read = file ? read_one(file, all, &error) : -ENOENT;

		if (read != -ENOENT)
			err = read;
		if (err && err != -ENOENT)
			*ret_error = TAKE_PTR(error);
	}
	if (err == -ENOENT)
		*ret_error = xasprintf("%s: none of these files is there", list);
	return err;
}

int kube_config_files_read(const char *list, json_t **ret, char **ret_error)
{
	json_t *all = json_object();
	int err;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		json_object_set_new(all, lists[i].list, json_array());
	err = is_one(list) ? read_one(list, all, ret_error) : read_several(list, all, ret_error);
	if (err < 0)
		json_decref(all);
	else
		*ret = all;
	return err;
}

/* -- have they changed? ----------------------------------------------------------------------- */

static uint64_t mix_file(uint64_t hash, const char *file, bool *any)
{
	int64_t version[4] = { 0 };
	struct stat st;

	if (stat(file, &st) == 0) {
		*any = true;
		version[0] = st.st_mtim.tv_sec;
		version[1] = st.st_mtim.tv_nsec;
		version[2] = st.st_size;
		version[3] = (int64_t)st.st_ino;
	}
	return hash_bytes(hash, version, sizeof(version));
}

uint64_t kube_config_files_stamp(const char *list)
{
	uint64_t hash = HASH_BEGIN;
	bool any = false;

	if (is_one(list))
		hash = mix_file(hash, list, &any);
	for (const char *rest = list; !is_one(list) && *rest;) {
		_cleanup_free_ char *file = next_name(&rest);

		if (file)
			hash = mix_file(hash, file, &any);
	}
	return any ? hash : 0;
}
