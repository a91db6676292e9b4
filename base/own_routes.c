/* SPDX-License-Identifier: Apache-2.0 */
#include "base/own_routes.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/netlink.h"
#include "base/netns.h"

/* What was found, as the kernel told it: each message says exactly what is to be deleted. */
struct found {
	struct nlmsghdr **items;
	size_t n;
	bool marks; /* one of them was a rule for a mark */
};

static void found_free(struct found *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->items[i]);
	free(f->items);
}

static void keep(struct found *f, const struct nlmsghdr *message, uint16_t type)
{
	struct nlmsghdr *copy = xcalloc(1, message->nlmsg_len);

	memcpy(copy, message, message->nlmsg_len);
	copy->nlmsg_type = type;
	copy->nlmsg_flags = 0;
	f->items = xrealloc(f->items, (f->n + 1) * sizeof(struct nlmsghdr *));
	f->items[f->n++] = copy;
}

static int keep_rule(const struct nlmsghdr *message, void *data)
{
	struct netlink_attrs attrs;
	const struct nlattr *protocol;
	struct found *f = data;

	netlink_parse(message, sizeof(struct fib_rule_hdr), &attrs);
	protocol = attrs.by_type[FRA_PROTOCOL];
	if (!protocol || mnl_attr_get_u8(protocol) != OWN_PROTOCOL)
		return MNL_CB_OK;
	f->marks |= attrs.by_type[FRA_FWMARK] != NULL;
	keep(f, message, RTM_DELRULE);
	return MNL_CB_OK;
}

static int keep_route(const struct nlmsghdr *message, void *data)
{
	const struct rtmsg *rt = mnl_nlmsg_get_payload(message);
	struct netlink_attrs attrs;

	netlink_parse(message, sizeof(*rt), &attrs);
	if (rt->rtm_protocol == OWN_PROTOCOL &&
	    netlink_u32(&attrs, RTA_TABLE, rt->rtm_table) == OWN_TABLE)
		keep(data, message, RTM_DELROUTE);
	return MNL_CB_OK;
}

static int find(struct mnl_socket *nl, struct found *f)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	int err = 0;

	for (size_t i = 0; !err && i < ARRAY_SIZE(families); i++) {
		err = netlink_dump(nl, RTM_GETRULE, sizeof(struct rtmsg), families[i], keep_rule,
				   f);
		err = err
			      ?: netlink_dump(nl, RTM_GETROUTE, sizeof(struct rtmsg), families[i],
					      keep_route, f);
	}
	return err;
}

static int remove_all(void *ctx)
{
	_cleanup_(found_free) struct found f = { 0 };
	struct mnl_socket *nl = netlink_open(NETLINK_ROUTE);
	int err = nl ? find(nl, &f) : -errno;

	(void)ctx;
	for (size_t i = 0; !err && i < f.n; i++)
		err = netlink_request(nl, f.items[i],
				      f.items[i]->nlmsg_type == RTM_DELRULE ? ENOENT : ESRCH);
	if (!err && f.marks)
		err = own_routes_inherit_marks(0);
	if (nl)
		mnl_socket_close(nl);
	return err ?: (int)f.n;
}

int own_routes_remove(const char *netns_path, uint64_t cookie)
{
	_cleanup_close_ int fd = netns_open(netns_path);
	uint64_t found;
	int err = fd < 0 ? fd : netns_cookie(fd, &found);

	if (err)
		return err;
	return found == cookie ? netns_call(fd, remove_all, NULL) : -ESTALE;
}

#define FWMARK_ACCEPT "sys/net/ipv4/tcp_fwmark_accept"

/*
 * A runtime shows its containers /proc/sys read-only, unless they are privileged. What is below
 * sys/net is whose network namespace the caller is in, and asks for CAP_NET_ADMIN there; so a proc
 * of our own will do, which is mounted nowhere (fsmount(), Linux 5.2).
 */
static int open_in_own_proc(const char *path)
{
	_cleanup_close_ int fs = fsopen("proc", FSOPEN_CLOEXEC);
	_cleanup_close_ int mount = -1;
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	mount = fsmount(fs, FSMOUNT_CLOEXEC,
			MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mount < 0)
		return -errno;
	fd = openat(mount, path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int own_routes_inherit_marks(int on)
{
	_cleanup_close_ int fd = open("/proc/" FWMARK_ACCEPT, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		fd = errno == EROFS ? open_in_own_proc(FWMARK_ACCEPT) : -errno;
	if (fd < 0)
		return fd;
	return write(fd, on ? "1\n" : "0\n", 2) < 0 ? -errno : 0;
}
