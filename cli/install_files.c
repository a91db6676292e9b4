/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/install_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/xattr.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/shared_files.h"
#include "cli/conflist.h"

#define CONF_MAX   (4u << 20)
#define BINARY_MAX (256u << 20)
#define EXCHANGES  10 /* with somebody who writes the file as often */
#define TRY_MS	   5000

/* What a single plugin's file is called while a chain stands in for it: no runtime reads that. */
#define SAVED ".weir-saved"
/* What is about to take a file's place. */
#define NEW ".weir-new.tmp"

static int fail(char **ret_error, int err, char *text)
{
	*ret_error = text;
	return err;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n > m && !strcmp(text + n - m, end);
}

/* The runtimes take these, in the order of their bytes (libcni's ConfFiles()). */
static int is_conf(const struct dirent *e)
{
	return ends_with(e->d_name, ".conf") || ends_with(e->d_name, ".conflist") ||
	       ends_with(e->d_name, ".json");
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void free_names(struct dirent **names, int n)
{
	for (int i = 0; i < n; i++)
		free(names[i]);
	free(names);
}

/* -- one file ---------------------------------------------------------------------------------- */

struct conf {
	char *path; /* behind symbolic links */
	struct stat st;
	struct conflist list;
};

static void conf_free(struct conf *c)
{
	free(c->path);
	conflist_free(&c->list);
	*c = (struct conf){ 0 };
}

#define _cleanup_conf_ _cleanup_(conf_free)

static int conf_read(const char *dir, const char *name, struct conf *ret, char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, name), *why = NULL;
	_cleanup_conf_ struct conf c = { .path = realpath(path, NULL) };
	int err = c.path && stat(c.path, &c.st) == 0 ? 0 : -errno;
	char *text;
	size_t len;

	if (!err)
		err = file_read(c.path, CONF_MAX, &text, &len);
	if (err)
		return fail(ret_error, err, xasprintf("cannot read %s: %s", path, strerror(-err)));
	err = conflist_parse(text, len, &c.list, &why);
	if (!err && c.list.kind == CONFLIST_SINGLE && ends_with(name, ".conflist")) {
		why = xstrdup("it has no plugins, and its name says that it is a list");
		err = -EINVAL;
	}
	if (err)
		return fail(ret_error, err, xasprintf("%s: %s", path, why));
	*ret = c;
	c = (struct conf){ 0 };
	return 0;
}

/*
 * A file beside `c` with its mode, its owner and its SELinux label. Where the latter two may not be
 * given they are those of every file that this process makes.
 */
static int write_like(const struct conf *c, const char *path, const char *text)
{
	char label[256];
	ssize_t n = getxattr(c->path, XATTR_NAME_SELINUX, label, sizeof(label));
	int err = file_write(path, text, strlen(text), c->st.st_mode & 0777);

	if (err)
		return err;
	if (chown(path, c->st.st_uid, c->st.st_gid) < 0)
		log_debug("the owner of a file could not be kept", "file", path, NULL);
	if (n > 0)
		setxattr(path, XATTR_NAME_SELINUX, label, (size_t)n, 0);
	return 0;
}

/*
 * Puts `text` in the place of what was read. Should somebody have written the file meanwhile,
 * what he wrote is put back and -EAGAIN returned: nothing of it may be lost.
 */
static int conf_replace(const struct conf *c, const char *text)
{
	_cleanup_free_ char *ours = xasprintf("%s" NEW, c->path), *theirs = NULL;
	size_t len;
	int err = write_like(c, ours, text);

	if (err)
		return err;
	if (renameat2(AT_FDCWD, ours, AT_FDCWD, c->path, RENAME_EXCHANGE) < 0) {
		err = errno == EINVAL && rename(ours, c->path) == 0 ? 0 : -errno;
		unlink(ours); /* file systems without an exchange have no better */
		return err == -ENOENT ? -EAGAIN : err;
	}
	err = file_read(ours, CONF_MAX, &theirs, &len);
	if (!err && (len != c->list.len || memcmp(theirs, c->list.text, len) != 0)) {
		renameat2(AT_FDCWD, ours, AT_FDCWD, c->path, RENAME_EXCHANGE);
		err = -EAGAIN;
	}
	unlink(ours);
	return err;
}

/* -- chaining -----------------------------------------------------------------------------------
 */

/* A chain of that name that weir did not make is somebody else's. */
static bool is_taken(const char *path)
{
	_cleanup_conflist_ struct conflist list = { 0 };
	_cleanup_free_ char *why = NULL, *without = NULL;
	char *text;
	size_t len;

	if (file_read(path, CONF_MAX, &text, &len))
		return false;
	return conflist_parse(text, len, &list, &why) || conflist_unchain(&list, &without) ||
	       !without;
}

/*
 * A single plugin's file becomes a chain beside it. The old file sorts before the new one, so it
 * has to get out of the runtime's sight, after the new one is there.
 */
static int convert(const struct conf *c, const char *text)
{
	_cleanup_free_ char *list = xstrdup(c->path), *path = NULL;
	_cleanup_free_ char *saved = xasprintf("%s" SAVED, c->path);
	int err;

	*strrchr(list, '.') = '\0';
	path = xasprintf("%s.conflist", list);
	err = is_taken(path) ? -EEXIST : write_like(c, path, text);
	if (!err && rename(c->path, saved) < 0)
		err = -errno;
	return err;
}

/* 1 when something was changed, or is to be. */
static int chain_one(const struct install *in, const struct conf *c, char **ret_error)
{
	_cleanup_free_ char *why = NULL, *text = NULL;
	int err = conflist_chain(&c->list, in->entry, &text, &why);

	if (err)
		return fail(ret_error, err, xasprintf("%s: %s", c->path, why));
	if (!text)
		return 0;
	if (!in->dry)
		err = c->list.kind == CONFLIST_SINGLE ? convert(c, text) : conf_replace(c, text);
	if (err)
		return err == -EAGAIN
			       ? err
			       : fail(ret_error, err,
				      xasprintf("cannot write %s: %s", c->path, strerror(-err)));
	if (!in->dry)
		log_info("weir-cni stands in the chain", "file", c->path, NULL);
	return 1;
}

/* Not every file system tells of a name what it stands for. */
static bool is_dir(const char *dir, const struct dirent *e)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", dir, e->d_name);
	struct stat st;

	if (e->d_type != DT_UNKNOWN)
		return e->d_type == DT_DIR;
	return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The file that the runtime takes; multus takes the next one in its turn. */
static int find_conf(const struct install *in, struct conf *ret, char **ret_error)
{
	struct dirent **names = NULL;
	int n, err = -ENOENT;

	if (in->conf_name)
		return conf_read(in->conf_dir, in->conf_name, ret, ret_error);
	n = scandir(in->conf_dir, &names, is_conf, by_bytes);
	for (int i = 0; i < n; i++) {
		if (is_dir(in->conf_dir, names[i]))
			continue;
		err = conf_read(in->conf_dir, names[i]->d_name, ret, ret_error);
		if (err || ret->list.kind != CONFLIST_META)
			break;
		conf_free(ret);
		err = -ENOENT;
	}
	free_names(names, n);
	if (err == -ENOENT && !*ret_error)
		*ret_error = xasprintf("no network configuration in %s yet", in->conf_dir);
	return err;
}

static int install_chain(const struct install *in, char **ret_error)
{
	int err = -EAGAIN;

	for (int i = 0; i < EXCHANGES && err == -EAGAIN; i++) {
		_cleanup_conf_ struct conf c = { 0 };

		err = find_conf(in, &c, ret_error);
		if (!err && c.list.kind == CONFLIST_META)
			return fail(ret_error, -EINVAL,
				    xasprintf("%s is multus's own: name the file that it "
					      "delegates to",
					      c.path));
		if (!err)
			err = chain_one(in, &c, ret_error);
	}
	if (err == -EAGAIN)
		return fail(
			ret_error, err,
			xasprintf("somebody writes the files of %s without a pause", in->conf_dir));
	return err;
}

/* -- the binary -----------------------------------------------------------------------------------
 */

static int install_binary(const struct install *in, char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("%s/" CONFLIST_PLUGIN, in->bin_dir);
	_cleanup_free_ char *new = NULL, *old = NULL;
	size_t new_len, old_len;
	struct stat st;
	int err = file_read(in->binary, BINARY_MAX, &new, &new_len);

	if (err)
		return fail(ret_error, err,
			    xasprintf("cannot read %s: %s (--binary)", in->binary, strerror(-err)));
	if (!file_read(path, BINARY_MAX, &old, &old_len) && old_len == new_len &&
	    !memcmp(old, new, new_len) && !stat(path, &st) && (st.st_mode & 0777) == 0755)
		return 0;
	err = in->dry ? 0 : make_dirs(in->bin_dir, 0755);
	if (!err && !in->dry)
		err = file_write(path, new, new_len, 0755);
	if (err)
		return fail(ret_error, err, xasprintf("cannot write %s: %s", path, strerror(-err)));
	if (!in->dry)
		log_info("weir-cni is installed", "file", path, NULL);
	return 1;
}

static int wait_for(pid_t pid, int *ret_status)
{
	for (int ms = 0; ms < TRY_MS; ms += 10) {
		if (waitpid(pid, ret_status, WNOHANG) != 0)
			return 0;
		usleep(10000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, ret_status, 0);
	return -ETIMEDOUT;
}

/*
 * A chain that names a plugin which cannot run (a file system that is mounted noexec, another
 * architecture) starts no pods at all.
 */
static int try_binary(const struct install *in, char **ret_error)
{
	_cleanup_free_ char *path = xasprintf("%s/" CONFLIST_PLUGIN, in->bin_dir);
	char *argv[] = { path, NULL }, *env[] = { "CNI_COMMAND=VERSION", NULL };
	posix_spawn_file_actions_t nowhere;
	int err, status = 0;
	pid_t pid;

	posix_spawn_file_actions_init(&nowhere);
	for (int fd = 0; fd < 3; fd++)
		posix_spawn_file_actions_addopen(&nowhere, fd, "/dev/null", O_RDWR, 0);
	err = -posix_spawn(&pid, path, &nowhere, NULL, argv, env);
	posix_spawn_file_actions_destroy(&nowhere);
	if (!err)
		err = wait_for(pid, &status) ?: status ? -ENOEXEC : 0;
	if (err)
		return fail(ret_error, err,
			    xasprintf("cannot run %s: %s: it is not put into the chain", path,
				      strerror(-err)));
	return 0;
}

/* -- everything ---------------------------------------------------------------------------------
 */

static int is_new(const struct dirent *e)
{
	return strstr(e->d_name, NEW) != NULL;
}

/*
 * One installer at a time looks and writes; what one left that was killed meanwhile goes. Returns
 * what holds the lock, or -1 where there is nothing to lock.
 */
static int lock_files(const struct install *in)
{
	int fd = open(in->conf_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;
	struct dirent **names = NULL;

	if (fd < 0 || flock(fd, LOCK_EX) < 0)
		return fd;
	n = scandirat(fd, ".", &names, is_new, by_bytes);
	for (int i = 0; i < n; i++)
		unlinkat(fd, names[i]->d_name, 0);
	free_names(names, n);
	return fd;
}

int install_run(const struct install *in, char **ret_error)
{
	_cleanup_close_ _held_ int lock = in->dry ? -1 : lock_files(in);
	int binary = install_binary(in, ret_error);
	int chain = binary < 0 ? binary : in->dry ? 0 : try_binary(in, ret_error);

	if (!chain)
		chain = install_chain(in, ret_error);

	return chain < 0 ? chain : binary + chain;
}

/* -- and back ---------------------------------------------------------------------------------- */

/* The file of the single plugin that this chain stands in for; the caller's. NULL: there is none.
 */
static char *saved_beside(const char *path, const char *extension)
{
	_cleanup_free_ char *stem = xstrdup(path);
	char *saved;

	*strrchr(stem, '.') = '\0';
	saved = xasprintf("%s%s" SAVED, stem, extension);
	if (access(saved, F_OK) == 0)
		return saved;
	free(saved);
	return NULL;
}

/* Whether `saved` still says what runs: its plugin may have been changed in the chain since. */
static bool is_current(const struct conf *chain, const char *saved)
{
	_cleanup_conflist_ struct conflist single = { 0 };
	_cleanup_free_ char *why = NULL;
	char *text;
	size_t len;

	return !file_read(saved, CONF_MAX, &text, &len) &&
	       !conflist_parse(text, len, &single, &why) &&
	       conflist_is_chain_of(&chain->list, &single);
}

/* True when the former file is back in its place. */
static bool restore_single(const struct conf *c)
{
	_cleanup_free_ char *saved =
		saved_beside(c->path, ".conf") ?: saved_beside(c->path, ".json");
	_cleanup_free_ char *back = saved ? xstrdup(saved) : NULL;

	if (!saved)
		return false;
	if (!is_current(c, saved)) { /* others have joined the chain, or changed it: it stays one */
		unlink(saved);
		return false;
	}
	back[strlen(back) - strlen(SAVED)] = '\0';
	return rename(saved, back) == 0 && unlink(c->path) == 0;
}

static int unchain_one(const struct conf *c, char **ret_error)
{
	_cleanup_free_ char *text = NULL;
	int err = conflist_unchain(&c->list, &text);

	if (err == -ENOENT) /* nothing but weir, which makes no network */
		return unlink(c->path) < 0 ? -errno : 1;
	if (!err && !text)
		return 0;
	if (!err && restore_single(c))
		return 1;
	if (!err)
		err = conf_replace(c, text);
	if (err && err != -EAGAIN)
		return fail(ret_error, err,
			    xasprintf("cannot write %s: %s", c->path, strerror(-err)));
	return err ?: 1;
}

static int unchain_file(const struct install *in, const char *name, char **ret_error)
{
	int err = -EAGAIN;

	for (int i = 0; i < EXCHANGES && err == -EAGAIN; i++) {
		_cleanup_conf_ struct conf c = { 0 };
		_cleanup_free_ char *why = NULL;

		if (conf_read(in->conf_dir, name, &c, &why))
			return 0; /* it is not what weir wrote */
		err = unchain_one(&c, ret_error);
		if (err > 0)
			log_info("weir-cni is out of the chain", "file", c.path, NULL);
	}
	return err;
}

static void forget(const struct install *in)
{
	_cleanup_free_ char *state = xasprintf("%s/" STATE_CAPTURED, in->state_dir);

	unlink(state);
	rmdir(in->state_dir); /* unless others have something there */
}

int install_undo(const struct install *in, char **ret_error)
{
	_cleanup_free_ char *binary = xasprintf("%s/" CONFLIST_PLUGIN, in->bin_dir);
	_cleanup_close_ _held_ int lock = lock_files(in);
	struct dirent **names = NULL;
	int n = scandir(in->conf_dir, &names, is_conf, by_bytes), changes = 0, err = 0;

	for (int i = 0; i < n && err >= 0; i++) {
		err = unchain_file(in, names[i]->d_name, ret_error);
		changes += err > 0;
	}
	free_names(names, n);
	if (err < 0) {
		if (!*ret_error)
			*ret_error = xasprintf("%s: %s", in->conf_dir, strerror(-err));
		return err; /* a chain that names a binary which is not there starts no pods */
	}
	if (unlink(binary) == 0)
		changes++;
	else if (errno != ENOENT)
		return fail(ret_error, -errno,
			    xasprintf("cannot remove %s: %s", binary, strerror(errno)));
	forget(in);
	return changes;
}
