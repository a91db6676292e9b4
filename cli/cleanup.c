/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir cleanup: detaches and unpins what weir has left under --bpf-dir, and nothing else. A link is
 * detached before its pin goes, so that it works whoever else holds the link.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/own_routes.h"
#include "cli/command.h"
#include "cli/ctl.h"
#include "cli/maps.h"
#include "cli/options.h"
#include "cli/pinned.h"

#define LAST_ONES_SECONDS 3

static const struct argp argp = {
	.doc = "Detaches and unpins everything of weir's: pods' traffic is diverted no longer.\v"
	       "Stop the agent first. Connections that were diverted stay with the proxy until "
	       "they "
	       "close. Done again it finds nothing and succeeds.",
	.children = options_children,
};

/* What was done, each a list of paths. */
struct report {
	json_t *detached;
	json_t *removed;
	json_t *left; /* not weir's */
	json_t *errors;
};

static void report_free(struct report *r)
{
	json_decref(r->detached);
	json_decref(r->removed);
	json_decref(r->left);
	json_decref(r->errors);
}

static void note(json_t *list, const char *text)
{
	json_array_append_new(list, json_string(text));
}

static void note_error(struct report *r, const char *what, const char *path, int err)
{
	_cleanup_free_ char *text = xasprintf("cannot %s %s: %s", what, path, strerror(err));

	note(r->errors, text);
}

/* Iterators cannot be detached, and what a link was attached to may be gone: the pin is all. */
static int detach(const char *path)
{
	_cleanup_close_ int fd = bpf_obj_get(path);

	if (fd < 0)
		return -errno;
	if (bpf_link_detach(fd) == 0 || errno == EOPNOTSUPP || errno == ENOLINK)
		return 0;
	return -errno;
}

static void remove_pin(struct report *r, json_t *list, const char *path)
{
	if (unlink(path) == 0)
		note(list, path);
	else if (errno != ENOENT)
		note_error(r, "unpin", path, errno);
}

static void remove_link(struct report *r, const char *path)
{
	struct pinned_link link;
	int err = pinned_link_read(path, &link);

	if (err == -ENOENT)
		return;
	if (err == 0 && !pinned_link_is_ours(&link))
		err = -EMEDIUMTYPE;
	if (err == -EMEDIUMTYPE) {
		note(r->left, path);
		return;
	}
	if (err == 0)
		err = detach(path);
	if (err < 0)
		note_error(r, "detach", path, -err);
	else
		remove_pin(r, r->detached, path);
}

static void remove_map(struct report *r, const char *path)
{
	remove_pin(r, r->removed, path);
}

static int no_dots(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* Calls fn for every name in dir that begins with prefix; what does not is left. */
static void each_name(struct report *r, const char *dir, const char *prefix,
		      void (*fn)(struct report *, const char *))
{
	struct dirent **names;
	int n = scandir(dir, &names, no_dots, alphasort);

	if (n < 0 && errno != ENOENT && errno != ENOTDIR)
		note_error(r, "read", dir, errno);
	for (int i = 0; i < n; i++) {
		_cleanup_free_ struct dirent *entry = names[i];
		_cleanup_free_ char *path = xasprintf("%s/%s", dir, entry->d_name);

		if (strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
			fn(r, path);
	}
	if (n >= 0)
		free(names);
}

static void note_left(struct report *r, const char *path)
{
	const char *name = strrchr(path, '/') + 1;

	if (strcmp(name, "links") != 0 && strcmp(name, "netns") != 0)
		note(r->left, path);
}

static void remove_dir(struct report *r, const char *path)
{
	if (rmdir(path) < 0 && errno != ENOENT && errno != ENOTEMPTY && errno != EBUSY)
		note_error(r, "remove", path, errno);
}

/* What comes by a virtual machine's interface, or bears TPROXY's mark, goes its own way again. */
static void remove_routes(struct report *r, const char *bpf_dir)
{
	_cleanup_pods_ struct pod_list pods = { 0 };

	if (maps_pods(bpf_dir, &pods) < 0)
		return; /* nobody knows where to look */
	for (size_t i = 0; i < pods.n; i++) {
		const struct pod_entry *pod = &pods.items[i];
		_cleanup_free_ char *what = xasprintf("routing rules in %s", pod->names.netns);
		int n = pod->policy.flags & (WEIR_POD_IF_VIRTUAL | WEIR_POD_TPROXY)
				? own_routes_remove(pod->names.netns, pod->cookie)
				: 0;

		if (n > 0)
			note(r->removed, what);
		else if (n < 0 && n != -ENOENT && n != -ESTALE && n != -EMEDIUMTYPE)
			note_error(r, "remove", what, -n); /* others: the pod has ended */
	}
}

static void remove_hooks(struct report *r, const char *links, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", links, pinned_hook_names[i]);

		remove_link(r, path);
	}
}

/*
 * What was diverted last is still on its way to the proxy, which then asks for SO_ORIGINAL_DST, or
 * waits for the answer to a datagram: new ones stop first, and those get their time.
 */
static void clean(struct report *r, const char *bpf_dir)
{
	_cleanup_free_ char *links = xasprintf("%s/links", bpf_dir);
	_cleanup_free_ char *netns = xasprintf("%s/netns", bpf_dir);

	remove_hooks(r, links, 0, PINNED_HOOKS_DIVERT);
	each_name(r, netns, "", remove_link);
	remove_routes(r, bpf_dir);
	if (json_array_size(r->detached))
		sleep(LAST_ONES_SECONDS);
	remove_hooks(r, links, PINNED_HOOKS_DIVERT, pinned_hooks_n);
	each_name(r, links, "", remove_link); /* of hooks that other versions have */
	each_name(r, bpf_dir, "iter_", remove_link);
	each_name(r, bpf_dir, "weir_", remove_map);
	remove_dir(r, links);
	remove_dir(r, netns);
	if (!json_array_size(r->errors))
		each_name(r, bpf_dir, "", note_left);
	remove_dir(r, bpf_dir);
}

/* The agent holds this lock while it lives. Returns the descriptor that holds it. */
static int lock_dir(const char *bpf_dir)
{
	_cleanup_close_ int fd = open(bpf_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if ((unsigned long)fs.f_type != BPF_FS_MAGIC)
		return -EMEDIUMTYPE;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static void print_list(const char *what, const json_t *list)
{
	json_t *item;
	size_t i;

	json_array_foreach ((json_t *)list, i, item)
		printf("%s %s\n", what, json_string_value(item));
}

static int finish(const struct options *o, const struct report *r)
{
	size_t done = json_array_size(r->detached) + json_array_size(r->removed);
	json_t *item;
	size_t i;

	if (o->output == OUTPUT_JSON) {
		_cleanup_json_ json_t *json = json_pack(
			"{s:s, s:O, s:O, s:O, s:O}", "bpf_dir", o->bpf_dir, "detached", r->detached,
			"removed", r->removed, "left", r->left, "errors", r->errors);

		json_print(json);
	} else {
		print_list("detached", r->detached);
		print_list("removed", r->removed);
		print_list("left, not weir's:", r->left);
		if (!done && !json_array_size(r->errors))
			printf("nothing of weir's under %s\n", o->bpf_dir);
	}
	json_array_foreach (r->errors, i, item)
		options_fail(o, "%s", json_string_value(item));
	return json_array_size(r->errors) ? EXIT_FAILURE : EXIT_SUCCESS;
}

int weir_cleanup_main(int argc, char **argv)
{
	_cleanup_(report_free) struct report r = { json_array(), json_array(), json_array(),
						   json_array() };
	_cleanup_close_ int lock = -1;
	struct options o;

	options_parse(&argp, argc, argv, &o, &o);
	lock = lock_dir(o.bpf_dir);
	if (lock == -EWOULDBLOCK)
		return options_fail(&o, "an agent is running with --bpf-dir=%s: stop it first",
				    o.bpf_dir);
	if (lock == -EACCES || lock == -EPERM)
		return options_fail(&o, "%s: permission denied: run as root", o.bpf_dir);
	if (lock == -EMEDIUMTYPE)
		return options_fail(&o, "%s is not on a bpf file system: is --bpf-dir right?",
				    o.bpf_dir);
	if (lock < 0 && lock != -ENOENT)
		return options_fail(&o, "%s: %s", o.bpf_dir, strerror(-lock));
	if (lock >= 0)
		clean(&r, o.bpf_dir);
	return finish(&o, &r);
}
