/* SPDX-License-Identifier: Apache-2.0 */
/* Each grammar by itself: the first byte says which, the rest is the value. */
#include "agent/annotations.h"
#include "agent/go_text.h"
#include "agent/init_args.h"
#include "tests/fuzz/invariants.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct istio_key keys[] = {
	{ ISTIO_IN_INCLUDE_PORTS, "includeInboundPorts", true, false, NULL },
	{ ISTIO_OUT_INCLUDE_PORTS, NULL, false, false, NULL },
	{ ISTIO_STATUS_PORT, "excludeInboundPorts", false, true, NULL },
	{ "", NULL, true, false, "argument -b of container istio-init" },
};

static int istio_ports(const char *text, struct lists *lists, char **ret_error)
{
	bool all;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(keys) && !r; i++)
		r = istio_ports_parse(&keys[i], text, WEIR_LIST_IN_PORT_INCLUDE, lists, &all,
				      ret_error);
	return r;
}

static int istio_cidrs(const char *text, struct lists *lists, char **ret_error)
{
	bool all, loopback;

	return istio_cidrs_parse(&keys[0], text, WEIR_LIST_OUT_CIDR_INCLUDE, lists, &all, &loopback,
				 ret_error);
}

static int interfaces(const char *text, struct lists *lists, char **ret_error)
{
	return istio_interfaces_parse(&keys[0], text, WEIR_LIST_IF_EXCLUDE, lists, ret_error);
}

static int ids(const char *text, struct lists *lists, char **ret_error)
{
	int64_t first;
	int r = istio_ids_parse(&keys[3], text, WEIR_LIST_PROXY_UID, lists, &first, ret_error);

	must(r || (first >= -1 && first < UINT32_MAX));
	return r;
}

static int groups(const char *text, struct lists *lists, char **ret_error)
{
	size_t n;

	return istio_groups_parse(&keys[3], text, WEIR_LIST_GROUP_INCLUDE, lists, &n, ret_error);
}

static int loopback(const char *text, struct lists *lists, char **ret_error)
{
	uint8_t net[4], bits;
	int r = istio_loopback_parse(&keys[3], text, net, &bits, ret_error);

	(void)lists;
	must(r || (net[0] == 127 && bits >= 8 && bits <= 32));
	return r;
}

static int linkerd_ports(const char *text, struct lists *lists, char **ret_error)
{
	_cleanup_free_ char *warning = NULL;

	return linkerd_ports_parse(&(struct istio_key){ .key = LINKERD_SKIP_IN }, text,
				   WEIR_LIST_IN_PORT_EXCLUDE, lists, &warning, ret_error);
}

static int linkerd_cidrs(const char *text, struct lists *lists, char **ret_error)
{
	return linkerd_cidrs_parse(&(struct istio_key){ .key = LINKERD_SKIP_SUBNETS }, text,
				   WEIR_LIST_IN_SOURCE_EXCLUDE, lists, ret_error);
}

static int linkerd_id(const char *text, struct lists *lists, char **ret_error)
{
	int64_t id;
	int r = linkerd_id_parse(&(struct istio_key){ .key = LINKERD_UID }, text, &id, ret_error);

	(void)lists;
	must(r || (id >= -1 && id < UINT32_MAX));
	return r;
}

static int addrs(const char *text, struct lists *lists, char **ret_error)
{
	return own_addrs_parse("weir.io/dns-servers", text, WEIR_LIST_DNS_SERVER, lists, ret_error);
}

/* Quoting makes text of anything, and of its own result too. */
static int quoting(const char *text, struct lists *lists, char **ret_error)
{
	_cleanup_free_ char *quoted = go_quote(text), *trimmed = go_trim_space(text);
	_cleanup_free_ char *again = go_trim_space(trimmed);

	(void)lists;
	(void)ret_error;
	must(quoted[0] == '"' && quoted[strlen(quoted) - 1] == '"');
	for (const char *c = quoted; *c; c++)
		must((unsigned char)*c >= ' ');
	must(!strcmp(trimmed, again));
	return 0;
}

/* A command line: one word a line. */
static int arguments(const char *text, struct lists *lists, char **ret_error)
{
	_cleanup_free_ char *copy = text_of((const unsigned char *)text, strlen(text));
	_cleanup_free_ char *all = NULL;
	struct pod_container c = { 0 };
	char *words[64], *saved = NULL;

	(void)lists;
	(void)ret_error;
	c.args = words;
	for (char *word = strtok_r(copy, "\n", &saved); word && c.n_args < ARRAY_SIZE(words);
	     word = strtok_r(NULL, "\n", &saved))
		words[c.n_args++] = word;
	init_arg(&c, "envoy-port", 'p');
	init_arg(&c, "redirect-dns", 0);
	all = init_arg_list(&c, "ports-to-redirect", 'r');
	must(!all == !init_arg(&c, "ports-to-redirect", 'r'));
	return 0;
}

static int (*const grammars[])(const char *text, struct lists *lists, char **ret_error) = {
	istio_ports,   istio_cidrs,   interfaces, ids,	 groups,  loopback,
	linkerd_ports, linkerd_cidrs, linkerd_id, addrs, quoting, arguments,
};

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	_cleanup_lists_ struct lists lists = { 0 };
	_cleanup_free_ char *text = NULL, *error = NULL;
	int r;

	if (!size)
		return 0;
	text = text_of(data + 1, size - 1);
	r = grammars[*data % ARRAY_SIZE(grammars)](text, &lists, &error);
	must(!r || r == -EINVAL);
	must(!r == !error);
	must(!error || strstr(error, text));
	lists_normalize(&lists);
	check_lists(&lists);
	return 0;
}
