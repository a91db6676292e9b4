/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/loader.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
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
#include "agent/netns.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "maps/flow.h"
#include "netns.skel.h"
#include "weir.skel.h"

/*
 * The hooks at the kubepods cgroup, in the order of attaching: who reads what another one writes
 * comes before it, so that an upgrade never meets an answer without its question.
 */
static const struct hook {
	const char *name; /* below BPFDIR/links */
	const char *program;
} hooks[] = {
	{ "getsockopt", "weir_getsockopt" },
	{ "getpeername4", "weir_peername4" },
	{ "getpeername6", "weir_peername6" },
	{ "recvmsg4", "weir_recvmsg4" },
	{ "recvmsg6", "weir_recvmsg6" },
	{ "sockops", "weir_sockops" },
	{ "sendmsg4", "weir_sendmsg4" },
	{ "sendmsg6", "weir_sendmsg6" },
	{ "sock_release", "weir_release" },
	{ "connect4", "weir_connect4" },
	{ "connect6", "weir_connect6" },
	{ "bind4", "weir_bind4" },
	{ "bind6", "weir_bind6" },
};

struct loader {
	char *bpf_dir;
	int lock_fd; /* BPFDIR itself, locked while this process lives */
	int cgroup_fd;
	struct weir_bpf *skel;
	struct bpf_link *links[ARRAY_SIZE(hooks)];
	bool made[ARRAY_SIZE(hooks)]; /* by this process, not adopted */
	struct bpf_link *fold;
	struct bpf_link *adopt;
	struct bpf_link *set_state; /* NULL unless a found connection needs it */
	uint64_t *fresh; /* cookies whose link already runs this agent's program */
	size_t n_fresh;
};

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

/* The size of weir_flows: that which was asked for, unless it is pinned with another one. */
static uint32_t flows_size(const struct loader *l, uint32_t max_flows)
{
	_cleanup_free_ char *path = xasprintf("%s/weir_flows", l->bpf_dir), *text = NULL;
	_cleanup_close_ int fd = bpf_obj_get(path);
	uint32_t size = max_flows ? max_flows + WEIR_FLOWS_RESERVED : WEIR_FLOWS_MAX;
	struct bpf_map_info info = { 0 };
	__u32 len = sizeof(info);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) < 0 || info.max_entries == size)
		return size;
	if (max_flows) {
		text = xasprintf("%u", info.max_entries - WEIR_FLOWS_RESERVED);
		log_warn("--metrics.max-flows: the table that an earlier agent left keeps its size "
			 "until weir cleanup",
			 "flows", text, NULL);
	}
	return info.max_entries;
}

/* Tells the hooks how many flows they may make. */
static int limit_flows(const struct loader *l)
{
	uint32_t index = WEIR_COUNTER_FLOWS_LIMIT;
	uint64_t limit = bpf_map__max_entries(l->skel->maps.weir_flows) - WEIR_FLOWS_RESERVED;

	return bpf_map_update_elem(bpf_map__fd(l->skel->maps.weir_counters), &index, &limit,
				   BPF_ANY) < 0
		       ? -errno
		       : 0;
}

/* Whether a map that not everybody needs is made. */
static bool wants_traits(const struct loader *l, const struct loader_options *options)
{
	_cleanup_free_ char *path = xasprintf("%s/weir_traits", l->bpf_dir);

	return options->traits || access(path, F_OK) == 0;
}

static int configure(struct loader *l, const struct loader_options *options)
{
	int err = bpf_map__set_max_entries(l->skel->maps.weir_flows,
					   flows_size(l, options->max_flows));

	l->skel->rodata->weir_pod_local = options->pod_local;
	return err ?: bpf_map__set_autocreate(l->skel->maps.weir_traits, wants_traits(l, options));
}

static int load(struct loader *l, const struct loader_options *options, char **ret_error)
{
	DECLARE_LIBBPF_OPTS(bpf_object_open_opts, opts, .pin_root_path = l->bpf_dir);
	int err;

	libbpf_set_strict_mode(LIBBPF_STRICT_ALL);
	libbpf_set_print(log_libbpf);
	l->skel = weir_bpf__open_opts(&opts);
	err = l->skel ? configure(l, options) : -errno;
	err = err ?: weir_bpf__load(l->skel);
	err = err ?: limit_flows(l);
	if (err)
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

/* A cgroup's id is the inode number of its directory. */
static uint64_t cgroup_id(int cgroup_fd)
{
	struct stat st;

	return fstat(cgroup_fd, &st) == 0 ? st.st_ino : 0;
}

static int attach_hook(struct loader *l, size_t i)
{
	_cleanup_free_ char *path = xasprintf("%s/links/%s", l->bpf_dir, hooks[i].name);
	struct bpf_program *prog = bpf_object__find_program_by_name(l->skel->obj, hooks[i].program);
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

static int may_attach(const struct loader *l, size_t i, const char *cgroup_root, char **ret_error)
{
	struct bpf_program *prog = bpf_object__find_program_by_name(l->skel->obj, hooks[i].program);

	return ancestors_allow(cgroup_root, hooks[i].name,
			       (int)bpf_program__expected_attach_type(prog), ret_error);
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

static int attach_hooks(struct loader *l, const char *cgroup_root, char **ret_error)
{
	int err = 0;

	l->cgroup_fd = open(cgroup_root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (l->cgroup_fd < 0) {
		*ret_error =
			xasprintf("cannot open --cgroup-root=%s: %s", cgroup_root, strerror(errno));
		return -errno;
	}
	for (size_t i = 0; !err && i < ARRAY_SIZE(hooks); i++)
		err = may_attach(l, i, cgroup_root, ret_error);
	for (size_t i = 0; !err && i < ARRAY_SIZE(hooks); i++) {
		err = attach_hook(l, i);
		if (err)
			*ret_error =
				xasprintf("cannot attach %s to %s: %s%s", hooks[i].name,
					  cgroup_root, strerror(-err),
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

/* An earlier agent's link gives way to one that runs this agent's program; it can not be updated.
 */
static int watch_states(struct loader *l)
{
	_cleanup_free_ char *path = xasprintf("%s/links/set_state", l->bpf_dir);
	uint32_t index = WEIR_COUNTER_STATES_WATCHED;
	uint64_t one = 1;
	int err;

	if (l->set_state)
		return 0;
	l->set_state = bpf_program__attach(l->skel->progs.weir_set_state);
	if (!l->set_state)
		return -errno;
	unlink(path);
	err = bpf_link__pin(l->set_state, path);
	if (!err && bpf_map_update_elem(bpf_map__fd(l->skel->maps.weir_counters), &index, &one,
					BPF_ANY) < 0)
		err = -errno;
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

int loader_open(const struct loader_options *options, struct loader **ret, char **ret_error)
{
	struct loader *l = xcalloc(1, sizeof(*l));
	int err;

	l->bpf_dir = xstrdup(options->bpf_dir);
	l->lock_fd = l->cgroup_fd = -1;
	err = prepare_dir(l, ret_error);
	if (!err)
		err = lock_dir(l, ret_error);
	if (!err)
		err = load(l, options, ret_error);
	if (err) {
		loader_free(l);
		return err;
	}
	*ret = l;
	return 0;
}

int loader_attach(struct loader *l, const char *cgroup_root, char **ret_error)
{
	int err = attach_hooks(l, cgroup_root, ret_error);

	return err ?: attach_iterators(l, ret_error);
}

static int watch_tls(struct loader *l, const char *name, struct bpf_program *prog, bool on)
{
	_cleanup_free_ char *path = xasprintf("%s/links/%s", l->bpf_dir, name);
	struct bpf_link *link = open_link(path, prog, cgroup_id(l->cgroup_fd));
	int err = 0;

	if (!link && on) {
		link = bpf_program__attach_cgroup(prog, l->cgroup_fd);
		err = link ? bpf_link__pin(link, path) : -errno;
	} else if (link && !on) {
		bpf_link__detach(link);
		err = bpf_link__unpin(link);
	}
	bpf_link__destroy(link); /* the pin holds it */
	return err;
}

int loader_watch_tls(struct loader *l, bool on, char **ret_error)
{
	uint32_t index = WEIR_COUNTER_TLS_ASKED;
	uint64_t value = on;
	int err = watch_tls(l, "tls_in", l->skel->progs.weir_tls_in, on);

	err = err ?: watch_tls(l, "tls_out", l->skel->progs.weir_tls_out, on);
	if (!err && bpf_map_update_elem(bpf_map__fd(l->skel->maps.weir_counters), &index, &value,
					BPF_ANY) < 0)
		err = -errno;
	if (err)
		*ret_error = xasprintf("--metrics.tls: %s", strerror(-err));
	return err;
}

/* Gives up the handles; what is pinned stays attached. */
void loader_free(struct loader *l)
{
	if (!l)
		return;
	bpf_link__destroy(l->fold);
	bpf_link__destroy(l->adopt);
	bpf_link__destroy(l->set_state);
	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++)
		bpf_link__destroy(l->links[i]);
	weir_bpf__destroy(l->skel);
	close_fd(&l->cgroup_fd);
	close_fd(&l->lock_fd);
	free(l->fresh);
	free(l->bpf_dir);
	free(l);
}

int loader_map(const struct loader *l, const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(l->skel->obj, name);

	return fd >= 0 ? fd : -ENOENT;
}

/* Not the compiler's: weir_bpf.rodata. */
static bool is_ours(const struct bpf_map *map)
{
	return !strncmp(bpf_map__name(map), "weir_", 5) && !strchr(bpf_map__name(map), '.');
}

void loader_each_map(const struct loader *l, void (*fn)(const char *name, int fd, void *ctx),
		     void *ctx)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, l->skel->obj)
		if (is_ours(map) && bpf_map__fd(map) >= 0)
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
		fn(hooks[i].name, hook_attached(l, i), ctx);
}

int loader_repair(struct loader *l)
{
	int repaired = 0;

	for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
		int err;

		if (hook_attached(l, i))
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

static char *netns_path(const struct loader *l, uint64_t cookie)
{
	return xasprintf("%s/netns/%llu", l->bpf_dir, (unsigned long long)cookie);
}

/* Loads sk_lookup for one namespace, on the maps that the main object has open. */
static int load_netns(const struct loader *l, uint64_t cookie, struct netns_bpf **ret)
{
	struct netns_bpf *skel = netns_bpf__open();
	struct bpf_map *map;
	int err = skel ? 0 : -errno;

	if (err)
		return err;
	skel->rodata->netns_cookie = cookie;
	bpf_object__for_each_map (map, skel->obj) {
		int fd = bpf_object__find_map_fd_by_name(l->skel->obj, bpf_map__name(map));

		if (strncmp(bpf_map__name(map), "weir_", 5))
			continue; /* its own .rodata */
		if (fd < 0) {
			bpf_map__set_autocreate(map, false);
			continue;
		}
		bpf_map__set_pin_path(map, NULL);
		err = err ?: bpf_map__reuse_fd(map, fd);
	}
	err = err ?: netns_bpf__load(skel);
	if (err)
		netns_bpf__destroy(skel);
	else
		*ret = skel;
	return err;
}

static bool link_alive(struct bpf_link *link)
{
	struct bpf_link_info info = { 0 };
	__u32 len = sizeof(info);

	return bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) == 0 && info.netns.netns_ino;
}

static bool is_fresh(const struct loader *l, uint64_t cookie)
{
	for (size_t i = 0; i < l->n_fresh; i++)
		if (l->fresh[i] == cookie)
			return true;
	return false;
}

static void set_fresh(struct loader *l, uint64_t cookie, bool fresh)
{
	for (size_t i = 0; i < l->n_fresh; i++) {
		if (l->fresh[i] != cookie)
			continue;
		l->fresh[i] = l->fresh[--l->n_fresh];
		break;
	}
	if (!fresh)
		return;
	l->fresh = xrealloc(l->fresh, (l->n_fresh + 1) * sizeof(*l->fresh));
	l->fresh[l->n_fresh++] = cookie;
}

static int attach_new(const char *path, struct bpf_program *prog, int netns_fd)
{
	struct bpf_link *link = bpf_program__attach_netns(prog, netns_fd);
	int err = link ? 0 : -errno;

	if (link) {
		err = bpf_link__pin(link, path);
		bpf_link__destroy(link);
	}
	return err;
}

int loader_attach_netns(struct loader *l, int netns_fd, uint64_t cookie)
{
	_cleanup_free_ char *path = netns_path(l, cookie);
	struct bpf_link *link = bpf_link__open(path);
	struct netns_bpf *skel = NULL;
	int err;

	if (link && is_fresh(l, cookie) && link_alive(link)) {
		bpf_link__destroy(link);
		return 0;
	}
	err = load_netns(l, cookie, &skel);
	if (!err && link && bpf_link__update_program(link, skel->progs.weir_lookup) < 0) {
		unlink(path); /* its network namespace is gone */
		err = attach_new(path, skel->progs.weir_lookup, netns_fd);
	} else if (!err && !link) {
		err = attach_new(path, skel->progs.weir_lookup, netns_fd);
	}
	if (link)
		bpf_link__destroy(link);
	netns_bpf__destroy(skel);
	if (!err)
		set_fresh(l, cookie, true);
	return err;
}

int loader_detach_netns(struct loader *l, uint64_t cookie)
{
	_cleanup_free_ char *path = netns_path(l, cookie);
	struct bpf_link *link = bpf_link__open(path);

	set_fresh(l, cookie, false);
	if (!link)
		return -ENOENT;
	bpf_link__detach(link);
	unlink(path);
	bpf_link__destroy(link);
	return 0;
}

bool loader_netns_alive(const struct loader *l, uint64_t cookie)
{
	_cleanup_free_ char *path = netns_path(l, cookie);
	struct bpf_link *link = bpf_link__open(path);
	bool alive = link && link_alive(link);

	if (link)
		bpf_link__destroy(link);
	return alive;
}

int loader_list_netns(const struct loader *l, uint64_t **ret, size_t *ret_n)
{
	_cleanup_free_ char *path = xasprintf("%s/netns", l->bpf_dir);
	_cleanup_closedir_ DIR *dir = opendir(path);
	uint64_t *list = NULL;
	size_t n = 0;

	if (!dir)
		return -errno;
	for (struct dirent *e; (e = readdir(dir));) {
		char *end;
		uint64_t cookie = strtoull(e->d_name, &end, 10);

		if (end == e->d_name || *end)
			continue;
		list = xrealloc(list, (n + 1) * sizeof(*list));
		list[n++] = cookie;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}
