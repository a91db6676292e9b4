/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/loader_private.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "agent/ancestors.h"
#include "agent/sizes.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/netns.h"
#include "maps/flow.h"
#include "weir.skel.h"

/*
 * The hooks at the kubepods cgroup, in the order of attaching: who reads what another one writes
 * comes before it, so that an upgrade never meets an answer without its question.
 */
static const struct hook {
	const char *name; /* below BPFDIR/links */
	const char *program;
	enum { ALWAYS, WITH_TLS, WITH_UDP } when; /* else it is not even loaded */
} hooks[] = {
	{ "getsockopt", "weir_getsockopt", ALWAYS },
	{ "getpeername4", "weir_peername4", ALWAYS },
	{ "getpeername6", "weir_peername6", ALWAYS },
	{ "recvmsg4", "weir_recvmsg4", ALWAYS },
	{ "recvmsg6", "weir_recvmsg6", ALWAYS },
	{ "tls_in", "weir_tls_in", WITH_TLS },
	{ "tls_out", "weir_tls_out", WITH_TLS },
	{ "sockops", "weir_sockops", ALWAYS },
	{ "sendmsg4", "weir_sendmsg4", ALWAYS },
	{ "sendmsg6", "weir_sendmsg6", ALWAYS },
	{ "sock_release", "weir_release", ALWAYS },
	{ "connect4", "weir_connect4", ALWAYS },
	{ "connect6", "weir_connect6", ALWAYS },
	{ "bind4", "weir_bind4", ALWAYS },
	{ "bind6", "weir_bind6", ALWAYS },
	{ "udp_in", "weir_udp_in", WITH_UDP },
	{ "udp_out", "weir_udp_out", WITH_UDP },
};

/* Maps that exist WITH_UDP only. */
static const char udp_maps[] = "weir_udp_";

_Static_assert(ARRAY_SIZE(hooks) <= LOADER_HOOKS, "a link for each");

static int log_libbpf(enum libbpf_print_level level, const char *fmt, va_list args)
{
	_cleanup_buf_ struct buf b = { 0 };

	if (level == LIBBPF_DEBUG || !log_enabled(LOG_DEBUG))
		return 0;
	buf_vprintf(&b, fmt, args);
	while (b.len && b.data[b.len - 1] == '\n')
		b.data[--b.len] = '\0';
	log_debug("libbpf", "text", buf_text(&b), NULL);
	return 0;
}

/* bpf_dir need not exist, but what exists of it must lie on a bpffs. */
static bool on_bpffs(const char *path)
{
	_cleanup_free_ char *p = xstrdup(path);
	struct statfs fs;

	while (statfs(p, &fs) < 0) {
		char *slash = strrchr(p, '/');

		if (errno != ENOENT || !slash || slash == p)
			return false;
		*slash = '\0';
	}
	return (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static int prepare_dir(struct loader *l, char **ret_error)
{
	static const char *const sub[] = { "links", "netns" };
	int err;

	if (!on_bpffs(l->bpf_dir)) {
		*ret_error = xasprintf(
			"--bpf-dir=%s is not on a bpffs: mount one (mount -t bpf bpf /sys/fs/bpf)",
			l->bpf_dir);
		return -ENODEV;
	}
	err = make_dirs(l->bpf_dir, 0700);
	for (size_t i = 0; !err && i < ARRAY_SIZE(sub); i++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", l->bpf_dir, sub[i]);

		err = make_dirs(path, 0700);
	}
	if (err)
		*ret_error = xasprintf("cannot make %s: %s", l->bpf_dir, strerror(-err));
	return err;
}

static int lock_dir(struct loader *l, char **ret_error)
{
	l->lock_fd = open(l->bpf_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->lock_fd >= 0 && flock(l->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (l->lock_fd >= 0 && errno == EWOULDBLOCK) {
		*ret_error =
			xasprintf("another weir agent already uses --bpf-dir=%s: stop it first, "
				  "or give this one a directory of its own",
				  l->bpf_dir);
		return -EBUSY;
	}
	*ret_error = xasprintf("cannot lock %s: %s", l->bpf_dir, strerror(errno));
	return -errno;
}

static const char *load_hint(int err)
{
	if (err == -EPERM)
		return "run as root or with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN";
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0)
		return "this kernel has no BTF (/sys/kernel/btf/vmlinux): one with "
		       "CONFIG_DEBUG_INFO_BTF is needed";
	/* The last of what cannot be replaced came to sock_ops with 5.15. */
	if (libbpf_probe_bpf_helper(BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_get_netns_cookie, NULL) != 1)
		return "this kernel is too old, Linux 5.15 is needed: weir check tells what it "
		       "lacks";
	if (err == -EINVAL)
		return "maps of an incompatible version may be pinned there: weir cleanup removes "
		       "them";
	return "weir check tells what this kernel lacks, --log.level=debug what it said";
}

static uint32_t flows_size(const struct loader *l)
{
	return l->options.max_flows ? l->options.max_flows + WEIR_FLOWS_RESERVED : WEIR_FLOWS_MAX;
}

static int write_counter(const struct loader *l, uint32_t index, uint64_t value)
{
	int fd = bpf_map__fd(l->skel->maps.weir_counters);

	return bpf_map_update_elem(fd, &index, &value, BPF_ANY) < 0 ? -errno : 0;
}

/* Tells the hooks how many flows they may make, whatever more there may be room for. */
static int limit_flows(const struct loader *l)
{
	return write_counter(l, WEIR_COUNTER_FLOWS_LIMIT, flows_size(l) - WEIR_FLOWS_RESERVED);
}

/* Whether a map that not everybody needs is made. */
static bool wants_traits(const struct loader *l)
{
	_cleanup_free_ char *path = xasprintf("%s/weir_traits", l->bpf_dir);

	return l->options.traits || access(path, F_OK) == 0;
}

static bool is_wanted(const struct loader *l, size_t i)
{
	return hooks[i].when == ALWAYS || (hooks[i].when == WITH_TLS && l->options.tls) ||
	       (hooks[i].when == WITH_UDP && l->options.udp);
}

static struct bpf_program *hook_program(const struct loader *l, size_t i)
{
	return bpf_object__find_program_by_name(l->skel->obj, hooks[i].program);
}

/* What is not asked for is not loaded. */
static int choose(struct loader *l)
{
	struct bpf_map *map;
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(hooks); i++)
		err = bpf_program__set_autoload(hook_program(l, i), is_wanted(l, i));
	err = err ?: bpf_program__set_autoload(l->skel->progs.weir_udp_dropped, l->options.udp);
	err = err ?: bpf_map__set_autocreate(l->skel->maps.weir_traits, wants_traits(l));
	bpf_object__for_each_map (map, l->skel->obj)
		if (!strncmp(bpf_map__name(map), udp_maps, strlen(udp_maps)))
			err = err ?: bpf_map__set_autocreate(map, l->options.udp);
	return err;
}

static const struct bpf_program *merge_program(const struct loader *l, enum former_table table)
{
	return table == FORMER_FLOWS ? l->skel->progs.weir_merge : l->skel->progs.weir_merge_udp;
}

/* A cgroup's id is the inode number of its directory. */
static uint64_t cgroup_id(int cgroup_fd)
{
	struct stat st;

	return fstat(cgroup_fd, &st) == 0 ? st.st_ino : 0;
}

static int configure(struct loader *l, char **ret_error)
{
	int err = choose(l);

	l->skel->rodata->weir_pod_local = l->options.pod_local;
	l->skel->rodata->weir_tls_asked = l->options.tls;
	l->skel->rodata->weir_cgroup_root = cgroup_id(l->cgroup_fd);
	err = err ?: sizes_apply(l->options.sizes, l->skel->obj, l->bpf_dir);
	err = err ?: former_adopt(l->bpf_dir, l->skel->obj, flows_size(l), &l->former, ret_error);
	for (int i = 0; !err && i < FORMER_TABLES; i++) {
		l->skel->rodata->weir_merge_words[i] = l->former.words[i];
		err = bpf_program__set_autoload((struct bpf_program *)merge_program(l, i),
						l->former.words[i] > 0);
	}
	return err;
}

static int load(struct loader *l, char **ret_error)
{
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = l->bpf_dir);
	int err;

	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	libbpf_set_print(log_libbpf);
	l->skel = weir_bpf__open_opts(&opts);
	err = l->skel ? configure(l, ret_error) : -errno;
	err = err ?: weir_bpf__load(l->skel);
	err = err ?: limit_flows(l);
	if (err && !*ret_error)
		*ret_error = xasprintf("cannot load BPF programs: %s; %s", strerror(-err),
				       load_hint(err));
	return err;
}

/* Adopts the pinned link if it is attached to this cgroup and alive; NULL if not. */
static struct bpf_link *open_link(const char *path, struct bpf_program *prog, uint64_t cgroup_id)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);
	struct bpf_link *link = bpf_link__open(path);

	if (!link)
		return NULL;
	if (bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) == 0 &&
	    info.cgroup.cgroup_id == cgroup_id && bpf_link__update_program(link, prog) == 0)
		return link;
	bpf_link__detach(link);
	bpf_link__unpin(link);
	bpf_link__destroy(link);
	return NULL;
}

static int attach_hook(struct loader *l, size_t i)
{
	_cleanup_free_ char *path = xasprintf("%s/links/%s", l->bpf_dir, hooks[i].name);
	struct bpf_program *prog = hook_program(l, i);
	int err;

	l->links[i] = open_link(path, prog, cgroup_id(l->cgroup_fd));
	if (l->links[i])
		return 0;
	l->links[i] = bpf_program__attach_cgroup(prog, l->cgroup_fd);
	if (!l->links[i])
		return -errno;
	l->made[i] = true;
	err = bpf_link__pin(l->links[i], path);
	return err;
}

static int may_attach(const struct loader *l, size_t i, char **ret_error)
{
	struct bpf_program *prog = hook_program(l, i);

	return ancestors_allow(l->cgroup_root, hooks[i].name,
			       (int)bpf_program__expected_attach_type(prog), ret_error);
}

/* An earlier agent was asked for what this one is not. */
static void detach_unwanted(const struct loader *l, size_t i)
{
	_cleanup_free_ char *path = xasprintf("%s/links/%s", l->bpf_dir, hooks[i].name);
	struct bpf_link *link = bpf_link__open(path);

	if (!link)
		return;
	bpf_link__detach(link);
	bpf_link__unpin(link);
	bpf_link__destroy(link);
}

/* Half of the hooks are worse than none: what this process attached goes again. */
static void detach_made(struct loader *l)
{
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		if (!l->made[i])
			continue;
		bpf_link__detach(l->links[i]);
		bpf_link__unpin(l->links[i]);
	}
}

static int attach_hooks(struct loader *l, char **ret_error)
{
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(hooks); i++)
		err = is_wanted(l, i) ? may_attach(l, i, ret_error) : 0;
	for (size_t i = 0; !err && i < ARRAY_SIZE(hooks); i++) {
		if (!is_wanted(l, i)) {
			detach_unwanted(l, i);
			continue;
		}
		err = attach_hook(l, i);
		if (err)
			*ret_error =
				xasprintf("cannot attach %s to %s: %s%s", hooks[i].name,
					  l->cgroup_root, strerror(-err),
					  err == -EPERM ? "; a program there or at an ancestor "
							  "forbids it: weir check names it"
							: "");
	}
	if (err)
		detach_made(l);
	return err;
}

/* So that live connections can be folded while no agent runs: reading the file does it. */
static int pin_fold(struct loader *l)
{
	_cleanup_free_ char *path = xasprintf("%s/iter_fold", l->bpf_dir);

	unlink(path); /* an earlier agent's */
	return bpf_link__pin(l->fold, path);
}

static uint64_t read_counter(const struct loader *l, uint32_t index)
{
	uint64_t value = 0;

	bpf_map_lookup_elem(bpf_map__fd(l->skel->maps.weir_counters), &index, &value);
	return value;
}

/*
 * Attaches to a tracepoint. An earlier agent's link gives way to one that runs this agent's
 * program; it can not be updated.
 */
static int attach_tracepoint(const struct loader *l, struct bpf_program *prog, const char *name,
			     struct bpf_link **link)
{
	_cleanup_free_ char *path = xasprintf("%s/links/%s", l->bpf_dir, name);

	*link = bpf_program__attach(prog);
	if (!*link)
		return -errno;
	unlink(path);
	return bpf_link__pin(*link, path);
}

static int watch_states(struct loader *l)
{
	int err;

	if (l->set_state)
		return 0;
	err = attach_tracepoint(l, l->skel->progs.weir_set_state, "set_state", &l->set_state);
	return err ?: write_counter(l, WEIR_COUNTER_STATES_WATCHED, 1);
}

/* Nothing of an earlier agent's figures remains: who asks for them again, begins at nothing. */
static int forget_udp(const struct loader *l)
{
	_cleanup_free_ char *dropped = xasprintf("%s/links/udp_dropped", l->bpf_dir);
	struct bpf_map *map;

	unlink(dropped);
	bpf_object__for_each_map (map, l->skel->obj)
		if (!strncmp(bpf_map__name(map), udp_maps, strlen(udp_maps)))
			unlink(bpf_map__pin_path(map));
	return write_counter(l, WEIR_COUNTER_UDP_FLOWS, 0);
}

static int attach_optional(struct loader *l, char **ret_error)
{
	int err = l->options.udp ? attach_tracepoint(l, l->skel->progs.weir_udp_dropped,
						     "udp_dropped", &l->udp_dropped)
				 : forget_udp(l);

	if (err)
		*ret_error = xasprintf("cannot attach what was asked for: %s", strerror(-err));
	return err;
}

static int attach_iterators(struct loader *l, char **ret_error)
{
	union bpf_iter_link_info info = { .map.map_fd = bpf_map__fd(l->skel->maps.weir_conns) };
	DECLARE_LIBBPF_OPTS(bpf_iter_attach_opts, opts, .link_info = &info,
			    .link_info_len = sizeof(info));

	l->fold = bpf_program__attach_iter(l->skel->progs.weir_fold, &opts);
	if (l->fold)
		l->adopt = bpf_program__attach_iter(l->skel->progs.weir_adopt, NULL);
	if (l->adopt && !pin_fold(l) &&
	    (!read_counter(l, WEIR_COUNTER_STATES_WATCHED) || !watch_states(l)))
		return 0;
	*ret_error = xasprintf("cannot attach iterators: %s", strerror(errno));
	return -errno;
}

static int open_cgroup(struct loader *l, char **ret_error)
{
	l->cgroup_fd = open(l->cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->cgroup_fd >= 0)
		return 0;
	*ret_error = xasprintf("cannot open --cgroup-root=%s: %s", l->cgroup_root, strerror(errno));
	return -errno;
}

int loader_open(const struct loader_options *options, struct loader **ret, char **ret_error)
{
	struct loader *l = xcalloc(1, sizeof(*l));
	int err;

	l->options = *options;
	l->bpf_dir = xstrdup(options->bpf_dir);
	l->cgroup_root = xstrdup(options->cgroup_root);
	l->lock_fd = l->cgroup_fd = -1;
	err = prepare_dir(l, ret_error);
	if (!err)
		err = lock_dir(l, ret_error);
	if (!err)
		err = open_cgroup(l, ret_error);
	if (!err)
		err = load(l, ret_error);
	if (err) {
		loader_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

/* Before anybody is shown a figure: those of an earlier agent's tables are in ours. */
static int merge(const struct loader *l, char **ret_error)
{
	int err = 0;

	for (int i = 0; !err && i < FORMER_TABLES; i++)
		err = former_merge(l->bpf_dir, &l->former, i, merge_program(l, i));
	if (err)
		*ret_error = xasprintf("cannot take over the figures of an earlier agent: %s",
				       strerror(-err));
	return err;
}

int loader_attach(struct loader *l, char **ret_error)
{
	int err = attach_hooks(l, ret_error);

	err = err ?: attach_optional(l, ret_error);
	err = err ?: attach_iterators(l, ret_error);
	return err ?: merge(l, ret_error);
}

/* Gives up the handles; what is pinned stays attached. */
void loader_free(struct loader *l)
{
	if (!l)
		return;
	bpf_link__destroy(l->fold);
	bpf_link__destroy(l->adopt);
	bpf_link__destroy(l->set_state);
	bpf_link__destroy(l->udp_dropped);
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		bpf_link__destroy(l->links[i]);
	weir_bpf__destroy(l->skel);
	close_fd(&l->cgroup_fd);
	close_fd(&l->lock_fd);
	free(l->fresh);
	free(l->bpf_dir);
	free(l->cgroup_root);
	free(l);
}

int loader_map(const struct loader *l, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(l->skel->obj, name);

	return fd >= 0 ? fd : -ENOENT;
}

bool loader_owns(const struct bpf_map *map)
{
	return !strncmp(bpf_map__name(map), "weir_", 5) && !strchr(bpf_map__name(map), '.');
}

void loader_each_map(const struct loader *l, void (*fn)(const char *name, int fd, void *ctx),
		     void *ctx)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, l->skel->obj)
		if (loader_owns(map) && bpf_map__fd(map) >= 0)
			fn(bpf_map__name(map), bpf_map__fd(map), ctx);
}

static bool hook_attached(const struct loader *l, size_t i)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);

	return l->links[i] && !bpf_obj_get_info_by_fd(bpf_link__fd(l->links[i]), &info, &len) &&
	       info.cgroup.cgroup_id;
}

void loader_each_hook(const struct loader *l,
		      void (*fn)(const char *name, bool attached, void *ctx), void *ctx)
{
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		if (is_wanted(l, i))
			fn(hooks[i].name, hook_attached(l, i), ctx);
}

int loader_repair(struct loader *l)
{
	int repaired = 0;

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		int err;

		if (!is_wanted(l, i) || hook_attached(l, i))
			continue;
		bpf_link__destroy(l->links[i]);
		l->links[i] = NULL;
		err = attach_hook(l, i); /* finds the dead pin and replaces it */
		if (err)
			return err;
		repaired++;
	}
	return repaired;
}

/* An iterator runs while its file is read; ours print nothing, so there is nothing to keep. */
static int run_iterator(struct bpf_link *link)
{
	_cleanup_close_ int fd = bpf_iter_create(bpf_link__fd(link));
	char none[64];
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = read(fd, none, sizeof(none));
	while (n > 0 || (n < 0 && errno == EAGAIN));
	return n < 0 ? -errno : 0;
}

int loader_fold(const struct loader *l)
{
	return run_iterator(l->fold);
}

static int adopt_here(void *ctx)
{
	struct loader *l = ctx;
	uint64_t before = read_counter(l, WEIR_COUNTER_UNWATCHED);
	int err = run_iterator(l->adopt);

	if (err || read_counter(l, WEIR_COUNTER_UNWATCHED) == before)
		return err;
	err = watch_states(l);
	return err ?: run_iterator(l->adopt);
}

/* iter/tcp walks the network namespace of whoever creates the iterator. */
int loader_adopt(struct loader *l, int netns_fd)
{
	return netns_call(netns_fd, adopt_here, l);
}
