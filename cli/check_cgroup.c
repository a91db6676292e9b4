/* SPDX-License-Identifier: Apache-2.0 */
/* Where programs are to be attached, and who is there already. */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cgroup.h"
#include "base/file.h"
#include "cli/check.h"
#include "cli/ctl.h"
#include "cli/pinned.h"

static const char *const give_root =
	"give --cgroup-root=PATH: the cgroup, in the v2 hierarchy, that holds all pods";

static void check_mount(struct check *c)
{
	_cleanup_free_ char *mounts = NULL;
	size_t len;
	int r = cgroup2_mount(&c->mount);

	if (r < 0) {
		check_point(
			c, CHECK_FAILURE,
			"boot with systemd.unified_cgroup_hierarchy=1, or mount -t cgroup2 none "
			"/sys/fs/cgroup/unified",
			"no cgroup v2 hierarchy is mounted");
		return;
	}
	check_point(c, CHECK_OK, NULL, "cgroup v2 is mounted at %s", c->mount);
	if (file_read("/proc/self/mounts", 1 << 20, &mounts, &len) == 0 &&
	    strstr(mounts, " cgroup r"))
		check_point(
			c, CHECK_WARNING,
			"boot with systemd.unified_cgroup_hierarchy=1: processes that enter a pod "
			"later (kubectl exec) may lie outside its v2 cgroup and would not be "
			"diverted",
			"the system is hybrid: cgroup v1 hierarchies are mounted too");
}

/* An agent that runs here knows; without one it is looked for. */
static int ask_agent(struct check *c)
{
	_cleanup_json_ json_t *status = NULL;
	const char *root;

	if (ctl_ask(c->run_dir, "status", &status) < 0)
		return -ENOENT;
	root = json_text(status, "cgroup_root");
	if (!*root)
		return -ENOENT;
	c->cgroup_root = xstrdup(root);
	return 0;
}

static void find_root(struct check *c)
{
	int r = ask_agent(c);

	if (r < 0)
		r = cgroup_find_kubepods(c->mount, &c->cgroup_root);

	if (r == 0)
		check_point(c, CHECK_OK, NULL, "the pods' cgroup is %s", c->cgroup_root);
	else if (r == -ENOTUNIQ)
		check_point(c, CHECK_FAILURE, give_root,
			    "several kubelets have a cgroup of pods below %s", c->mount);
	else if (r == -ENOENT)
		check_point(c, CHECK_FAILURE, give_root, "no kubepods cgroup below %s", c->mount);
	else
		check_point(c, CHECK_FAILURE, give_root, "%s: %s", c->mount, strerror(-r));
}

static void check_root(struct check *c)
{
	int r = cgroup_is_root(c->cgroup_root);

	if (r == 0)
		check_point(c, CHECK_OK, NULL, "%s is a cgroup below the root of the tree",
			    c->cgroup_root);
	else if (r == 1)
		check_point(c, CHECK_FAILURE,
			    "give the pods' cgroup: at the root the host's own programs would be "
			    "diverted (the agent takes it with --allow-root-cgroup only)",
			    "%s is the root of the cgroup tree", c->cgroup_root);
	else if (r == -ENOTSUP)
		check_point(c, CHECK_FAILURE, give_root, "%s is not in the cgroup v2 hierarchy",
			    c->cgroup_root);
	else
		check_point(c, CHECK_FAILURE, give_root, "%s: %s", c->cgroup_root, strerror(-r));
}

void check_cgroup(struct check *c)
{
	check_group(c, "cgroups");
	check_mount(c);
	if (!c->mount)
		return;
	if (!c->cgroup_root)
		find_root(c);
	if (c->cgroup_root)
		check_root(c);
}

static const struct {
	enum bpf_attach_type type;
	const char *name;
} attach_types[] = {
	{ BPF_CGROUP_INET4_CONNECT, "connect4" },
	{ BPF_CGROUP_INET6_CONNECT, "connect6" },
	{ BPF_CGROUP_INET4_GETPEERNAME, "getpeername4" },
	{ BPF_CGROUP_INET6_GETPEERNAME, "getpeername6" },
	{ BPF_CGROUP_UDP4_SENDMSG, "sendmsg4" },
	{ BPF_CGROUP_UDP6_SENDMSG, "sendmsg6" },
	{ BPF_CGROUP_UDP4_RECVMSG, "recvmsg4" },
	{ BPF_CGROUP_UDP6_RECVMSG, "recvmsg6" },
	{ BPF_CGROUP_GETSOCKOPT, "getsockopt" },
	{ BPF_CGROUP_SOCK_OPS, "sock_ops" },
	{ BPF_CGROUP_INET_SOCK_RELEASE, "sock_release" },
	{ BPF_CGROUP_INET4_BIND, "bind4" },
	{ BPF_CGROUP_INET6_BIND, "bind6" },
};

/* Programs known by the beginning of their names. */
static const struct {
	const char *prefix;
	const char *owner;
} known[] = {
	{ "cil_", " (Cilium)" },
	{ "cali", " (Calico)" },
};

static const char *owner_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strncmp(name, known[i].prefix, strlen(known[i].prefix)) == 0)
			return known[i].owner;
	return "";
}

/* One foreign program: what its attach flags mean for weir, which always attaches with MULTI. */
static void report_program(struct check *c, const char *hook, const char *cgroup, bool above,
			   uint32_t flags, uint32_t id)
{
	char name[16] = "", tag[17] = "";
	_cleanup_free_ char *who = NULL;

	prog_info(id, name, tag);
	if (!strncmp(name, "weir_", 5))
		return;
	who = xasprintf("%s: program %s%s, id %u, tag %s at %s", hook,
			*name ? name : "without a name", owner_of(name), id, tag, cgroup);
	if (flags & BPF_F_ALLOW_MULTI)
		check_point(c, CHECK_OK, NULL, "%s (multi) runs %s", who,
			    above ? "after weir" : "beside weir, in the order of attaching");
	else if (!(flags & BPF_F_ALLOW_OVERRIDE))
		check_point(
			c, CHECK_FAILURE,
			"it was attached without BPF_F_ALLOW_MULTI, so that weir may not attach: "
			"upgrade its owner, or detach it (bpftool cgroup detach)",
			"%s (none) forbids others", who);
	else
		check_point(
			c, CHECK_FAILURE,
			above ? "it was attached with BPF_F_ALLOW_OVERRIDE, and would silently "
				"stop "
				"working for pods: have its owner attach with BPF_F_ALLOW_MULTI"
			      : "it was attached with BPF_F_ALLOW_OVERRIDE, so that weir may not "
				"attach beside it: have its owner attach with BPF_F_ALLOW_MULTI",
			"%s (override) %s", who, above ? "would be disabled" : "forbids others");
}

/* Returns the number of programs that were found, or -errno. */
static int query_cgroup(struct check *c, const char *cgroup, bool above)
{
	_cleanup_close_ int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint32_t ids[64], flags;
	int n = 0;

	if (fd < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(attach_types); i++) {
		uint32_t count = ARRAY_SIZE(ids);

		if (bpf_prog_query(fd, attach_types[i].type, 0, &flags, ids, &count) < 0)
			return -errno;
		for (uint32_t p = 0; p < count; p++)
			report_program(c, attach_types[i].name, cgroup, above, flags, ids[p]);
		n += (int)count;
	}
	return n;
}

static bool same_directory(const char *a, const char *b)
{
	struct stat sa, sb;

	return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
	       sa.st_ino == sb.st_ino;
}

/* From the pods' cgroup up to where the hierarchy is mounted. */
static int query_upwards(struct check *c, char *path)
{
	bool above = false;

	for (;;) {
		char *slash;
		int r = query_cgroup(c, path, above);

		if (r < 0)
			return r;
		slash = strrchr(path, '/');
		if (same_directory(path, c->mount) || !slash || slash == path)
			return 0;
		*slash = '\0';
		above = true;
	}
}

void check_foreign(struct check *c)
{
	char *path = c->cgroup_root ? realpath(c->cgroup_root, NULL) : NULL;
	_cleanup_free_ char *own = path;
	unsigned int before;
	int r;

	if (!own || cgroup_is_root(own) < 0)
		return; /* told by check_cgroup() */
	check_group(c, "programs of others on the path of pods' connections");
	before = c->failures;
	r = query_upwards(c, own);
	if (r < 0)
		check_point(c, CHECK_FAILURE, "run as root", "%s cannot be asked: %s", own,
			    strerror(-r));
	else if (c->failures == before)
		check_point(c, CHECK_OK, NULL, "nothing forbids weir's programs");
}
