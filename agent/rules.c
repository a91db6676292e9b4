/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/rules.h"

#include <errno.h>
#include <netinet/in.h> /* before the kernel's, which then leave out what is in it */
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/netlink.h"
#include "base/netns.h"

#define LEGACY_MAX (16u << 20)
#define NAMES_MAX  4096

/* Istio's chains begin so, native nftables ones in small letters, Linkerd's so. */
static const char *const prefixes[] = { "ISTIO_", "istio-", "PROXY_INIT_" };

static bool is_meshs(const char *chain)
{
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (!strncmp(chain, prefixes[i], strlen(prefixes[i])))
			return true;
	return false;
}

/* -- nftables, iptables-nft included ----------------------------------------------------------- */

/* "" when the message has no such string. */
static const char *text_of(const struct netlink_attrs *attrs, int type)
{
	const struct nlattr *attr = attrs->by_type[type];

	return attr && mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) == 0 ? mnl_attr_get_str(attr)
									 : "";
}

static int look_at_chain(const struct nlmsghdr *message, void *data)
{
	const struct nfgenmsg *header = mnl_nlmsg_get_payload(message);
	struct netlink_attrs attrs;
	uint32_t *kinds = data;

	netlink_parse(message, sizeof(*header), &attrs);
	if (is_meshs(text_of(&attrs, NFTA_CHAIN_TABLE)))
		*kinds |= RULES_NFT_NATIVE;
	else if (is_meshs(text_of(&attrs, NFTA_CHAIN_NAME)))
		*kinds |= header->nfgen_family == NFPROTO_IPV6 ? RULES_NFT_V6 : RULES_NFT_V4;
	return MNL_CB_OK;
}

/* A kernel without nf_tables has no such rules. */
static void find_nft(uint32_t *kinds)
{
	struct mnl_socket *nl = netlink_open(NETLINK_NETFILTER);

	if (!nl)
		return;
	netlink_dump(nl, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, sizeof(struct nfgenmsg),
		     NFPROTO_UNSPEC, look_at_chain, kinds);
	mnl_socket_close(nl);
}

/* -- the older tables -----------------------------------------------------------------------------
 */

static bool contains(const char *data, size_t len, const char *text)
{
	return memmem(data, len, text, strlen(text)) != NULL;
}

/*
 * The blob of a table names each chain in the ERROR target before it. A table that the namespace
 * does not list has never been used there, and asking for it would make it.
 */
static bool legacy_has(bool v6, const char *table)
{
	/* any socket does; iptables' own, a raw one, would take CAP_NET_RAW */
	_cleanup_close_ int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ipt_getinfo info = { 0 }; /* struct ip6t_getinfo and the rest are laid out alike */
	socklen_t len = sizeof(info);
	_cleanup_free_ struct ipt_get_entries *entries = NULL;
	int level = v6 ? IPPROTO_IPV6 : IPPROTO_IP;
	bool found = false;

	_Static_assert(sizeof(struct ip6t_getinfo) == sizeof(struct ipt_getinfo) &&
			       IP6T_SO_GET_INFO == IPT_SO_GET_INFO &&
			       IP6T_SO_GET_ENTRIES == IPT_SO_GET_ENTRIES &&
			       offsetof(struct ip6t_get_entries, size) ==
				       offsetof(struct ipt_get_entries, size),
		       "one code for both families");
	strcpy(info.name, table);
	if (fd < 0 || getsockopt(fd, level, IPT_SO_GET_INFO, &info, &len) < 0 ||
	    info.size > LEGACY_MAX)
		return false;
	len = (socklen_t)(sizeof(*entries) + info.size);
	entries = xcalloc(1, len);
	strcpy(entries->name, table);
	entries->size = info.size;
	if (getsockopt(fd, level, IPT_SO_GET_ENTRIES, entries, &len) < 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		found |= contains((const char *)entries->entrytable, info.size, prefixes[i]);
	return found;
}

static void find_legacy(bool v6, uint32_t *kinds)
{
	static const char *const tables[] = { "nat", "mangle" };
	_cleanup_free_ char *names = NULL;
	size_t len;

	if (file_read(v6 ? "/proc/thread-self/net/ip6_tables_names"
			 : "/proc/thread-self/net/ip_tables_names",
		      NAMES_MAX, &names, &len))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
		if (contains(names, len, tables[i]) && legacy_has(v6, tables[i]))
			*kinds |= v6 ? RULES_LEGACY_V6 : RULES_LEGACY_V4;
}

static int find_all(void *ctx)
{
	uint32_t kinds = 0;

	find_nft(&kinds);
	find_legacy(false, &kinds);
	find_legacy(true, &kinds);
	*(uint32_t *)ctx = kinds;
	return 0;
}

int rules_find(int netns_fd, uint32_t *ret_kinds)
{
	return netns_call(netns_fd, find_all, ret_kinds);
}

/* -- how they go --------------------------------------------------------------------------------
 *
 * What the rules had redirected lives on only while the kernel tracks and translates connections in
 * that namespace, and it does both as long as some rule or base chain asks for it
 * (nf_ct_netns_get(), nf_nat_register_fn()). So one rule stays in their place that asks for a
 * connection's state, in a chain of nat, and does nothing. Old and new change places in one step:
 * the kernel never sees neither. Rules and chains that are not the mesh's stay.
 */

/* For sed(1): what iptables-save prints without what names one of the mesh's chains. */
#define WITHOUT_MESH              \
	"/ISTIO_|PROXY_INIT_/d; " \
	"/^\\*nat/,/^COMMIT/s/^COMMIT/-A OUTPUT -m conntrack --ctstate DNAT\\n&/"

/* For sed(1): each of Istio's own tables is deleted. */
#define WITHOUT_TABLES                                                                       \
	"s/^table inet istio-/delete &/p; \\$a add table inet established { chain output { " \
	"type nat hook output priority 100; ct status dnat; }; }"

static void add_iptables(struct buf *b, const char *command)
{
	buf_printf(b, "%s%s-save | sed -E \"" WITHOUT_MESH "\" | %s-restore", b->len ? "; " : "",
		   command, command);
}

char *rules_removal(uint32_t kinds, const char *netns)
{
	static const struct {
		uint32_t kind;
		const char *command;
	} commands[] = {
		{ RULES_NFT_V4, "iptables-nft" },
		{ RULES_NFT_V6, "ip6tables-nft" },
		{ RULES_LEGACY_V4, "iptables-legacy" },
		{ RULES_LEGACY_V6, "ip6tables-legacy" },
	};
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (kinds & commands[i].kind)
			add_iptables(&b, commands[i].command);
	if (kinds & RULES_NFT_NATIVE)
		buf_printf(&b, "%snft list tables | sed -n \"" WITHOUT_TABLES "\" | nft -f -",
			   b.len ? "; " : "");
	return xasprintf("nsenter --net=%s sh -c '%s'", netns, buf_text(&b));
}
