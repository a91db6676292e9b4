/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pinned.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"

const char *const pinned_hook_names[] = {
	"connect4",	"connect6",	"sendmsg4",	"sendmsg6", "recvmsg4",
	"recvmsg6",	"getpeername4", "getpeername6", "sockops",  "getsockopt",
	"sock_release", "bind4",	"bind6",
};
const size_t pinned_hooks_n = ARRAY_SIZE(pinned_hook_names);

int prog_info(uint32_t id, char ret_name[16], char ret_tag[17])
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);

	if (fd < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(fd, &info, &len) < 0)
		return -errno;
	snprintf(ret_name, 16, "%s", info.name);
	for (size_t i = 0; ret_tag && i < sizeof(info.tag); i++)
		snprintf(ret_tag + 2 * i, 3, "%02x", info.tag[i]);
	return 0;
}

static bool is_attached(const struct bpf_link_info *info)
{
	switch (info->type) {
	case BPF_LINK_TYPE_CGROUP:
		return info->cgroup.cgroup_id != 0;
	case BPF_LINK_TYPE_NETNS:
		return info->netns.netns_ino != 0;
	}
	return true;
}

/*
 * BPF_OBJ_GET_INFO_BY_FD describes maps, programs and links alike, each in its own struct; only
 * fdinfo tells which it is.
 */
static int link_info(int fd, struct bpf_link_info *info)
{
	char target[64], text[512] = "";
	_cleanup_fclose_ FILE *f = NULL;
	uint32_t len = sizeof(*info);

	snprintf(target, sizeof(target), "/proc/self/fdinfo/%d", fd);
	f = fopen(target, "re");
	if (!f)
		return -errno;
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	if (!strstr(text, "link_id:"))
		return -EMEDIUMTYPE;
	return bpf_obj_get_info_by_fd(fd, info, &len) < 0 ? -errno : 0;
}

int pinned_link_read(const char *path, struct pinned_link *ret)
{
	_cleanup_close_ int fd = bpf_obj_get(path);
	struct bpf_link_info info = { 0 };
	struct pinned_link link = { 0 };
	int r;

	if (fd < 0)
		return -errno;
	r = link_info(fd, &info);
	if (r < 0)
		return r;
	link.id = info.id;
	link.prog_id = info.prog_id;
	link.attached = is_attached(&info);
	prog_info(info.prog_id, link.prog_name, NULL); /* unnamed when it cannot be asked */
	*ret = link;
	return 0;
}

bool pinned_link_is_ours(const struct pinned_link *link)
{
	return strncmp(link->prog_name, "weir_", 5) == 0;
}

bool pinned_any_attached(const char *bpf_dir)
{
	for (size_t i = 0; i < pinned_hooks_n; i++) {
		_cleanup_free_ char *path = xasprintf("%s/links/%s", bpf_dir, pinned_hook_names[i]);
		struct pinned_link link;

		if (pinned_link_read(path, &link) == 0 && link.attached)
			return true;
	}
	return false;
}
