/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel, the capabilities, the kinds of programs and maps: tried, not guessed from versions.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/vfs.h>

#include "base/buf.h"
#include "base/file.h"
#include "cli/check.h"

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#define CAP_BPF	    39
#endif

static void check_version(struct check *c)
{
	unsigned int major = 0, minor = 0, version;
	struct utsname u = { 0 };

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	version = major * 1000 + minor;
	if (version >= 5015)
		check_point(c, CHECK_OK, NULL, "kernel %s", u.release);
	else if (version >= 5010)
		check_point(c, CHECK_WARNING, "5.15 or newer is what weir is tested with",
			    "kernel %s is older than 5.15", u.release);
	else
		check_point(c, CHECK_FAILURE, "run Linux 5.15 or newer", "kernel %s is too old",
			    u.release);
}

static void check_btf(struct check *c)
{
	if (access("/sys/kernel/btf/vmlinux", R_OK) == 0)
		check_point(c, CHECK_OK, NULL, "the kernel has BTF");
	else
		check_point(c, CHECK_FAILURE, "run a kernel with CONFIG_DEBUG_INFO_BTF=y",
			    "/sys/kernel/btf/vmlinux: %s", strerror(errno));
}

static void check_jit(struct check *c)
{
	_cleanup_free_ char *text = NULL;
	size_t len;

	if (file_read("/proc/sys/net/core/bpf_jit_enable", 64, &text, &len) < 0)
		check_point(c, CHECK_WARNING, NULL, "net.core.bpf_jit_enable cannot be read");
	else if (text[0] == '0')
		check_point(c, CHECK_WARNING, "sysctl -w net.core.bpf_jit_enable=1",
			    "programs are interpreted: every connect() costs more");
	else
		check_point(c, CHECK_OK, NULL, "programs are compiled (net.core.bpf_jit_enable)");
}

/* What exists of --bpf-dir must lie on a bpf file system. */
static void check_bpffs(struct check *c)
{
	_cleanup_free_ char *path = xstrdup(c->bpf_dir);
	struct statfs fs = { 0 };

	while (statfs(path, &fs) < 0) {
		char *slash = strrchr(path, '/');

		if (errno != ENOENT || !slash || slash == path)
			break;
		*slash = '\0';
	}
	if ((unsigned long)fs.f_type == BPF_FS_MAGIC)
		check_point(c, CHECK_OK, NULL, "%s is on a bpf file system", c->bpf_dir);
	else
		check_point(c, CHECK_FAILURE,
			    "mount -t bpf bpf /sys/fs/bpf, or give another --bpf-dir",
			    "%s is not on a bpf file system", c->bpf_dir);
}

void check_kernel(struct check *c)
{
	check_group(c, "kernel");
	check_version(c);
	check_btf(c);
	check_jit(c);
	check_bpffs(c);
}

static const struct {
	unsigned int bit;
	const char *name;
	const char *use;
	enum check_result missing;
} capabilities[] = {
	{ CAP_BPF, "CAP_BPF", "to load programs", CHECK_FAILURE },
	{ CAP_PERFMON, "CAP_PERFMON", "to read kernel structures in programs", CHECK_FAILURE },
	{ CAP_NET_ADMIN, "CAP_NET_ADMIN", "to attach programs to cgroups and network namespaces",
	  CHECK_FAILURE },
	{ CAP_NET_BROADCAST, "CAP_NET_BROADCAST",
	  "to hear at once of pods' addresses and of their end; else it looks every 10 seconds",
	  CHECK_WARNING },
	{ CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "to enter pods' network namespaces", CHECK_FAILURE },
	{ CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "to find pods' network namespaces by their processes",
	  CHECK_FAILURE },
};

static int effective_capabilities(unsigned long long *ret)
{
	_cleanup_free_ char *text = NULL;
	const char *line;
	size_t len;
	int r = file_read("/proc/self/status", 65536, &text, &len);

	if (r < 0)
		return r;
	line = strstr(text, "\nCapEff:");
	return line && sscanf(line, "\nCapEff: %llx", ret) == 1 ? 0 : -EBADMSG;
}

void check_capabilities(struct check *c)
{
	unsigned long long effective = 0;
	int r = effective_capabilities(&effective);

	check_group(c, "capabilities");
	if (r < 0)
		check_point(c, CHECK_FAILURE, "mount /proc", "/proc/self/status: %s", strerror(-r));
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(capabilities); i++) {
		bool has = effective >> capabilities[i].bit & 1;

		check_point(c, has ? CHECK_OK : capabilities[i].missing,
			    has ? NULL
				: "run as root, or add it to the container's securityContext",
			    has ? "%s" : "%s is missing: it is needed %s", capabilities[i].name,
			    capabilities[i].use);
	}
}

static const struct {
	enum bpf_prog_type type;
	const char *name;
	const char *use;
} prog_types[] = {
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "cgroup/sock_addr",
	  "connect(), sendmsg(), recvmsg() and getpeername()" },
	{ BPF_PROG_TYPE_SOCK_OPS, "sock_ops", "handshakes, listeners, accounting" },
	{ BPF_PROG_TYPE_CGROUP_SOCKOPT, "cgroup/sockopt", "SO_ORIGINAL_DST" },
	{ BPF_PROG_TYPE_SK_LOOKUP, "sk_lookup", "inbound connections" },
};

/* By what they walk. */
static const struct {
	const char *name;
	const char *use;
} iterators[] = {
	{ "bpf_sk_storage_map", "counters of live connections" },
	{ "tcp", "listeners that are older than the agent" },
};

static const struct {
	enum bpf_map_type type;
	const char *name;
} map_types[] = {
	{ BPF_MAP_TYPE_SK_STORAGE, "sk_storage" },
	{ BPF_MAP_TYPE_LPM_TRIE, "lpm_trie" },
	{ BPF_MAP_TYPE_SOCKHASH, "sockhash" },
};

static const struct {
	enum bpf_prog_type type;
	enum bpf_func_id id;
	const char *name;
	enum check_result without;
	const char *hint;
} helpers[] = {
#define NEEDED CHECK_FAILURE, "run Linux 5.15 or newer"
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_bind, "bind in sock_addr", NEEDED },
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_get_netns_cookie,
	  "get_netns_cookie in sock_addr", NEEDED },
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_skc_lookup_tcp, "skc_lookup_tcp in sock_addr",
	  NEEDED },
	{ BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_get_netns_cookie, "get_netns_cookie in sock_ops",
	  NEEDED },
	{ BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_sock_hash_update, "sock_hash_update in sock_ops",
	  NEEDED },
	{ BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_FUNC_get_netns_cookie, "get_netns_cookie in sockopt",
	  NEEDED },
	{ BPF_PROG_TYPE_SK_LOOKUP, BPF_FUNC_sk_assign, "sk_assign in sk_lookup", NEEDED },
	{ BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_FUNC_set_retval, "set_retval in sock_addr",
	  CHECK_WARNING, "since Linux 5.18; without it a refused connect() gets EPERM" },
#undef NEEDED
};

/* libbpf answers 1, 0, or an error when it could not try. */
static void report_probe(struct check *c, int present, enum check_result without, const char *hint,
			 const char *kind, const char *name, const char *use)
{
	const char *sep = use ? ", for " : "";

	if (present == 1)
		check_point(c, CHECK_OK, NULL, "%s %s%s%s", kind, name, sep, use ?: "");
	else if (present == 0)
		check_point(c, without, hint, "%s %s is missing%s%s", kind, name, sep, use ?: "");
	else
		check_point(c, CHECK_FAILURE, "run as root", "%s %s cannot be tried: %s", kind,
			    name, strerror(-present));
}

/* libbpf's own probe of tracing programs compares a message that newer kernels word otherwise. */
static int probe_iterator(const char *name)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_TRACE_ITER);
	int id = libbpf_find_vmlinux_btf_id(name, BPF_TRACE_ITER);
	_cleanup_close_ int fd = -1;

	if (id < 0)
		return id == -ESRCH || id == -ENOENT ? 0 : id;
	opts.attach_btf_id = (uint32_t)id;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "weir_probe", "GPL", insns, ARRAY_SIZE(insns),
			   &opts);
	if (fd >= 0)
		return 1;
	return errno == EINVAL ? 0 : -errno;
}

void check_programs(struct check *c)
{
	check_group(c, "programs and maps");
	for (size_t i = 0; i < ARRAY_SIZE(prog_types); i++)
		report_probe(c, libbpf_probe_bpf_prog_type(prog_types[i].type, NULL), CHECK_FAILURE,
			     "run Linux 5.15 or newer, with CONFIG_CGROUP_BPF=y and CONFIG_INET=y",
			     "program type", prog_types[i].name, prog_types[i].use);
	for (size_t i = 0; i < ARRAY_SIZE(iterators); i++)
		report_probe(c, probe_iterator(iterators[i].name), CHECK_FAILURE,
			     "run Linux 5.15 or newer, with CONFIG_DEBUG_INFO_BTF=y", "iterator",
			     iterators[i].name, iterators[i].use);
	for (size_t i = 0; i < ARRAY_SIZE(map_types); i++)
		report_probe(c, libbpf_probe_bpf_map_type(map_types[i].type, NULL), CHECK_FAILURE,
			     "run Linux 5.15 or newer, with CONFIG_NET=y and CONFIG_BPF_SYSCALL=y",
			     "map type", map_types[i].name, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(helpers); i++)
		report_probe(c, libbpf_probe_bpf_helper(helpers[i].type, helpers[i].id, NULL),
			     helpers[i].without, helpers[i].hint, "helper", helpers[i].name, NULL);
}
