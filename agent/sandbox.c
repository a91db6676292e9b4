/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/netns.h"

#define GUARDED_KEY "guarded"

static const struct {
	const char *key;
	size_t offset;
} fields[] = {
	{ "containerID", offsetof(struct sandbox, container_id) },
	{ "ifName", offsetof(struct sandbox, ifname) },
	{ "network", offsetof(struct sandbox, network) },
	{ "netns", offsetof(struct sandbox, netns) },
	{ "namespace", offsetof(struct sandbox, namespace) },
	{ "name", offsetof(struct sandbox, name) },
	{ "uid", offsetof(struct sandbox, uid) },
};

static char **field(const struct sandbox *s, size_t i)
{
	return (char **)((char *)s + fields[i].offset);
}

static void sandbox_free(struct sandbox *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		free(*field(s, i));
	free(s);
}

/* Neither name can hold a slash or a colon: the plugin refuses such, as the specification does. */
static char *file_of(const struct sandboxes *s, const struct sandbox *sandbox)
{
	return xasprintf("%s/%s:%s.json", s->dir, sandbox->container_id, sandbox->ifname);
}

static int store(const struct sandboxes *s, const struct sandbox *sandbox)
{
	_cleanup_free_ char *path = file_of(s, sandbox), *text = NULL;
	json_t *json = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		json_object_set_new(json, fields[i].key, json_string(*field(sandbox, i)));
	if (sandbox->guarded)
		json_object_set_new(json, GUARDED_KEY, json_true());
	text = json_dumps(json, JSON_INDENT(2));
	json_decref(json);
	return text ? file_write_volatile(path, text, strlen(text), 0600) : -EINVAL;
}

/* -EINVAL when something is missing. */
static int load(const char *path, struct sandbox **ret)
{
	struct sandbox *sandbox = xcalloc(1, sizeof(*sandbox));
	json_t *json = json_load_file(path, 0, NULL);
	int err = json ? 0 : -EINVAL;

	for (size_t i = 0; !err && i < ARRAY_SIZE(fields); i++) {
		const char *text = json_string_value(json_object_get(json, fields[i].key));

		if (text)
			*field(sandbox, i) = xstrdup(text);
		else
			err = -EINVAL;
	}
	sandbox->guarded = json_is_true(json_object_get(json, GUARDED_KEY));
	json_decref(json);
	if (err)
		sandbox_free(sandbox);
	else
		*ret = sandbox;
	return err;
}

static bool has_netns(const struct sandbox *sandbox)
{
	_cleanup_close_ int fd = netns_open(sandbox->netns);

	return fd >= 0;
}

/* The runtime unmounts it before it removes the file. */
static bool has_ended(const struct sandbox *sandbox)
{
	_cleanup_close_ int fd = netns_open(sandbox->netns);

	return sandbox->seen && (fd == -ENOENT || fd == -EMEDIUMTYPE);
}

static void load_file(struct sandboxes *s, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", s->dir, name);
	struct sandbox *sandbox;

	if (load(path, &sandbox)) {
		log_warn("a record of a sandbox cannot be read and is removed", "file", path, NULL);
		unlink(path);
		return;
	}
	sandbox->seen = has_netns(sandbox);
	if (!sandbox->seen) { /* its DEL came while no agent ran; else its processes will show it */
		unlink(path);
		sandbox_free(sandbox);
		return;
	}
	sandbox->next = s->list;
	s->list = sandbox;
}

int sandboxes_open(struct sandboxes *s, const char *dir)
{
	_cleanup_closedir_ DIR *d = NULL;
	int err = make_dirs(dir, 0700);

	if (!err && !(d = opendir(dir)))
		err = -errno;
	if (err)
		return err;
	*s = (struct sandboxes){ .dir = xstrdup(dir) };
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.')
			load_file(s, e->d_name);
	return 0;
}

void sandboxes_close(struct sandboxes *s)
{
	while (s->list) {
		struct sandbox *sandbox = s->list;

		s->list = sandbox->next;
		sandbox_free(sandbox);
	}
	free(s->dir);
	*s = (struct sandboxes){ 0 };
}

void sandboxes_remove(const char *dir)
{
	_cleanup_closedir_ DIR *d = opendir(dir);

	for (struct dirent *e; d && (e = readdir(d));)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(dirfd(d), e->d_name, 0);
	rmdir(dir);
}

static bool is_superseded(const struct sandbox *old, const struct sandbox *new)
{
	if (strcmp(old->ifname, new->ifname))
		return false;
	return !strcmp(old->container_id, new->container_id) ||
	       (!strcmp(old->namespace, new->namespace) && !strcmp(old->name, new->name) &&
		!strcmp(old->uid, new->uid));
}

static void drop_at(struct sandboxes *s, struct sandbox **at)
{
	struct sandbox *sandbox = *at;
	_cleanup_free_ char *path = file_of(s, sandbox);

	unlink(path);
	*at = sandbox->next;
	sandbox_free(sandbox);
}

int sandboxes_put(struct sandboxes *s, const struct sandbox *new)
{
	struct sandbox *sandbox = xcalloc(1, sizeof(*sandbox));

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		*field(sandbox, i) = xstrdup(*field(new, i));
	for (struct sandbox **p = &s->list; *p;)
		if (is_superseded(*p, new))
			drop_at(s, p);
		else
			p = &(*p)->next;
	sandbox->seen = has_netns(sandbox);
	sandbox->next = s->list;
	s->list = sandbox;
	return store(s, sandbox);
}

int sandboxes_drop(struct sandboxes *s, const char *container_id, const char *ifname)
{
	int n = 0;

	for (struct sandbox **p = &s->list; *p;) {
		if (strcmp((*p)->container_id, container_id) ||
		    (ifname && strcmp((*p)->ifname, ifname))) {
			p = &(*p)->next;
			continue;
		}
		drop_at(s, p);
		n++;
	}
	return n;
}

void sandboxes_prune(struct sandboxes *s)
{
	for (struct sandbox **p = &s->list; *p;)
		if (has_ended(*p))
			drop_at(s, p);
		else
			p = &(*p)->next;
}

const struct sandbox *sandboxes_guard(struct sandboxes *s, const char *container_id,
				      const char *ifname, bool guarded)
{
	for (struct sandbox *i = s->list; i; i = i->next) {
		int err;

		if (strcmp(i->container_id, container_id) || strcmp(i->ifname, ifname))
			continue;
		i->guarded = guarded;
		err = store(s, i);
		if (err)
			log_error("a sandbox cannot be recorded", "error", strerror(-err), NULL);
		return i;
	}
	return NULL;
}

bool sandbox_is_of(const struct sandbox *s, const struct pod *pod)
{
	const char *hash = pod_annotation(pod, POD_CONFIG_HASH);

	if (strcmp(s->namespace, pod->namespace) || strcmp(s->name, pod->name))
		return false;
	return !*s->uid || !*pod->uid || !strcmp(s->uid, pod->uid) ||
	       (hash && !strcmp(s->uid, hash));
}

const struct sandbox *sandboxes_of_pod(const struct sandboxes *s, const struct pod *pod)
{
	for (const struct sandbox *i = s->list; i; i = i->next)
		if (sandbox_is_of(i, pod))
			return i;
	return NULL;
}
