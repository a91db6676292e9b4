/* SPDX-License-Identifier: Apache-2.0 */
/* The meshes' lists and words, from the text to struct lists. */
#include "agent/annotations.h"

#include "agent/go_text.h"
#include "base/buf.h"
#include "base/inet.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* More members than any list of groups needs; a range of all groups would be four milliards. */
#define MAX_GROUPS     1024
#define MAX_ALL_GROUPS 65536
/* Istio's limit: all included groups stand in one rule. */
#define MAX_GROUPS_INCLUDE 64

/* Istio's wrapping; takes reason. */
static int invalid(const char *key, const char *value, char *reason, char **ret_error)
{
	*ret_error = xasprintf("invalid value '%s' for annotation '%s': %s", value, key, reason);
	free(reason);
	return -EINVAL;
}

/* The same, for what is no annotation as well. */
static int invalid_at(const struct istio_key *k, const char *value, char *reason, char **ret_error)
{
	if (!k->where)
		return invalid(k->key, value, reason, ret_error);
	*ret_error = xasprintf("invalid value '%s' for %s: %s", value, k->where, reason);
	free(reason);
	return -EINVAL;
}

/* The next item of a list, owned by the caller; *rest is NULL behind the last. */
static char *next_item(const char **rest)
{
	const char *s = *rest;
	size_t len = strcspn(s, ",");

	*rest = s[len] ? s + len + 1 : NULL;
	return xasprintf("%.*s", (int)len, s);
}

/* The next item as istio-iptables has it: trimmed; NULL where there is none. */
static char *next_argument(const char **rest)
{
	while (*rest) {
		_cleanup_free_ char *item = next_item(rest);
		char *text = go_trim_space(item);

		if (*text)
			return text;
		free(text);
	}
	return NULL;
}

/* Of an annotation every item counts, of an argument only those that are not empty. */
static char *next_of(const struct istio_key *k, const char **rest)
{
	if (k->where)
		return next_argument(rest);
	return *rest ? next_item(rest) : NULL;
}

/* The injector says twice which port it is, except of the status port. */
static char *port_error(const struct istio_key *k, const char *value, const char *item,
			const char *error)
{
	_cleanup_free_ char *quoted_value = go_quote(value), *quoted_item = go_quote(item);

	if (k->where)
		return xasprintf("failed parsing port %s: %s", quoted_item, error);
	if (k->single)
		return xasprintf("%s invalid: failed parsing port '%s': %s", k->name, item, error);
	if (k->name)
		return xasprintf("%s invalid: failed parsing port '%s': "
				 "failed parsing port '%s': %s",
				 k->name, item, item, error);
	return xasprintf("portList %s invalid: failed parsing port %s: %s", quoted_value,
			 quoted_item, error);
}

int istio_ports_parse(const struct istio_key *k, const char *value, enum weir_list list,
		      struct lists *lists, bool *ret_all, char **ret_error)
{
	_cleanup_free_ char *trimmed = go_trim_space(value);
	bool all = k->wildcard && !strcmp(value, "*");
	const char *rest = all ? NULL : k->single ? value : *trimmed ? trimmed : NULL;
	uint64_t port;

	for (;;) {
		_cleanup_free_ char *item = !k->single ? next_of(k, &rest)
					    : rest     ? xstrdup(value)
						       : NULL;
		_cleanup_free_ char *digits = item ? go_trim_space(item) : NULL, *error = NULL;

		if (!item)
			break;
		if (go_parse_uint(digits, 16, &port, &error) < 0)
			return invalid_at(k, value, port_error(k, value, item, error), ret_error);
		lists_add_port(lists, list, (uint16_t)port, (uint16_t)port);
		rest = k->single ? NULL : rest;
	}
	*ret_all = all;
	return 0;
}

/* On an error, *ret_item is the item that is no prefix; both texts are owned by the caller. */
static int add_cidrs(const struct istio_key *k, const char *rest, bool trim, enum weir_list list,
		     struct lists *lists, bool *ret_loopback, char **ret_item, char **ret_error)
{
	struct weir_addr addr;
	unsigned int bits;
	bool v4;

	*ret_loopback = false;
	for (;;) {
		_cleanup_free_ char *raw = next_of(k, &rest);
		_cleanup_free_ char *item = !raw ? NULL : trim ? go_trim_space(raw) : TAKE_PTR(raw);

		if (!item)
			return 0;
		if (go_parse_prefix(item, &addr, &bits, &v4, ret_error) < 0) {
			*ret_item = TAKE_PTR(item);
			return -EINVAL;
		}
		*ret_loopback |= weir_addr_is_loopback(&addr);
		lists_add_cidr(lists, list, &addr, v4 ? bits + 96 : bits, v4);
	}
}

int istio_cidrs_parse(const struct istio_key *k, const char *value, enum weir_list list,
		      struct lists *lists, bool *ret_all, bool *ret_loopback, char **ret_error)
{
	bool all = k->wildcard && !strcmp(value, "*");
	const char *rest = all || !*value ? NULL : value;
	_cleanup_free_ char *item = NULL, *error = NULL;

	if (add_cidrs(k, rest, false, list, lists, ret_loopback, &item, &error) < 0)
		return invalid_at(k, value,
				  xasprintf("%s%sfailed parsing cidr '%s': %s",
					    k->where ? "" : k->name,
					    k->where ? "" : " invalid: ", item, error),
				  ret_error);
	*ret_all = all;
	return 0;
}

/* The name of a network device; NULL, or why it is none, owned by the caller. */
static char *interface_error(const char *name)
{
	_cleanup_free_ char *quoted = go_quote(name);
	const char *bad = name;

	while (bad == name ? isalpha((unsigned char)*bad)
			   : isalnum((unsigned char)*bad) || (*bad && strchr("_.-", *bad)))
		bad++;
	if (!*name)
		return xstrdup("empty interface name");
	if (strlen(name) > 15)
		return xasprintf("interface name %s too long (max 15 chars)", quoted);
	if (*bad)
		return xasprintf("interface name %s contains invalid characters", quoted);
	return NULL;
}

int istio_interfaces_parse(const struct istio_key *k, const char *value, enum weir_list list,
			   struct lists *lists, char **ret_error)
{
	const char *rest = *value ? value : NULL;

	for (;;) {
		_cleanup_free_ char *item = next_of(k, &rest);
		_cleanup_free_ char *name = item ? go_trim_space(item) : NULL;
		char *error = name ? interface_error(name) : NULL;

		if (error)
			return invalid_at(k, value, error, ret_error);
		if (!name)
			return 0;
		lists_add_interface(lists, list, name);
	}
}

int istio_switch_parse(const struct istio_key *k, const char *value, bool *ret, char **ret_error)
{
	char *error;

	if (go_parse_bool(value, ret, &error) < 0)
		return invalid_at(k, value, error, ret_error);
	return 0;
}

int istio_port_parse(const struct istio_key *k, const char *value, uint16_t *ret, char **ret_error)
{
	_cleanup_free_ char *quoted = NULL, *error = NULL;
	uint64_t port = 0;

	if (go_parse_uint(value, 16, &port, &error) < 0 || !port) {
		quoted = go_quote(value);
		return invalid_at(k, value,
				  xasprintf("failed parsing port %s: %s", quoted,
					    error ?: "port 0 is no listener"),
				  ret_error);
	}
	*ret = (uint16_t)port;
	return 0;
}

/* NULL, or why text is no id, owned by the caller; (uid_t)-1 is nobody. */
static char *id_error(const char *text, uint32_t *ret)
{
	_cleanup_free_ char *error = NULL;
	uint64_t id;

	if (go_parse_uint(text, 32, &id, &error) < 0)
		return xasprintf("%s (a name is known inside of the container only)", error);
	if (id == UINT32_MAX)
		return xasprintf("%s is no id", text);
	*ret = (uint32_t)id;
	return NULL;
}

int istio_ids_parse(const struct istio_key *k, const char *value, enum weir_list list,
		    struct lists *lists, int64_t *ret_first, char **ret_error)
{
	const char *rest = value;
	int64_t first = -1;

	for (;;) {
		_cleanup_free_ char *item = next_argument(&rest);
		char *error;
		uint32_t id;

		if (!item)
			break;
		error = id_error(item, &id);
		if (error)
			return invalid_at(k, value, error, ret_error);
		if (first < 0)
			first = id;
		else if (id != first)
			lists_add_id(lists, list, id);
	}
	*ret_first = first;
	return 0;
}

/* NULL, or why text is neither a group nor a range of groups, owned by the caller. */
static char *add_groups(const char *text, enum weir_list list, struct lists *lists)
{
	const char *dash = strchr(text, '-');
	_cleanup_free_ char *lo = xasprintf("%.*s", dash ? (int)(dash - text) : INT32_MAX, text);
	uint32_t from = 0, to = 0;
	char *error = id_error(lo, &from);

	if (!error)
		error = id_error(dash ? dash + 1 : text, &to);
	if (!error && to < from)
		error = xasprintf("%s ends before it begins", text);
	if (!error && to - from >= MAX_GROUPS)
		error = xasprintf("%s has more than %d groups", text, MAX_GROUPS);
	if (!error && lists->n_ids + to - from >= MAX_ALL_GROUPS)
		error = xasprintf("%s: these are more than %d groups in all", text, MAX_ALL_GROUPS);
	for (uint32_t id = from; !error && id <= to; id++)
		lists_add_id(lists, list, id);
	return error;
}

int istio_groups_parse(const struct istio_key *k, const char *value, enum weir_list list,
		       struct lists *lists, size_t *ret_n, char **ret_error)
{
	const char *rest = value;
	size_t n = 0;

	for (;; n++) {
		_cleanup_free_ char *item = next_argument(&rest);
		char *error = item ? add_groups(item, list, lists) : NULL;

		if (error)
			return invalid_at(k, value, error, ret_error);
		if (!item)
			break;
	}
	if (list == WEIR_LIST_GROUP_INCLUDE && n > MAX_GROUPS_INCLUDE)
		return invalid_at(k, value,
				  xasprintf("number of owner groups whose outgoing traffic should "
					    "be redirected to Envoy cannot exceed %d, got %zu",
					    MAX_GROUPS_INCLUDE, n),
				  ret_error);
	*ret_n = n;
	return 0;
}

int istio_loopback_parse(const struct istio_key *k, const char *value, uint8_t ret_net[4],
			 uint8_t *ret_bits, char **ret_error)
{
	_cleanup_free_ char *error = NULL;
	const char *slash = strrchr(value, '/');
	struct weir_addr addr;
	unsigned int bits;
	bool v4;

	if (go_parse_prefix(value, &addr, &bits, &v4, &error) < 0)
		return invalid_at(k, value, xasprintf("failed to parse CIDR %s: %s", value, error),
				  ret_error);
	if (!v4 || !weir_addr_is_loopback(&addr))
		return invalid_at(k, value,
				  xasprintf("expected valid IPv4 loopback address in CIDR %s; "
					    "found %.*s",
					    value, (int)(slash - value), value),
				  ret_error);
	if (bits < 8)
		return invalid_at(k, value,
				  xasprintf("expected CIDR %s to have mask in range [8, 32]; "
					    "found %u",
					    value, bits),
				  ret_error);
	for (unsigned int i = 0; i < 4; i++)
		ret_net[i] = (uint8_t)(addr.ip[12 + i] &
				       (bits >= 8 * i + 8 ? 0xff
					: bits <= 8 * i	  ? 0
							  : 0xff << (8 - (bits - 8 * i))));
	*ret_bits = (uint8_t)bits;
	return 0;
}

int istio_mode_parse(const struct istio_key *k, const char *value, enum istio_mode *ret,
		     char **ret_error)
{
	static const char *const names[] = { "REDIRECT", "TPROXY", "NONE" };

	for (size_t i = 0; i < (k->where ? ISTIO_NONE : ARRAY_SIZE(names)); i++) {
		if (strcmp(names[i], value))
			continue;
		*ret = (enum istio_mode)i;
		return 0;
	}
	*ret = ISTIO_REDIRECT;
	if (k->where)
		return 0;
	return invalid(k->key, value,
		       xasprintf("interceptionMode invalid, use REDIRECT,TPROXY,NONE: %s", value),
		       ret_error);
}

#define NOT_16_BITS "(must be a 16-bit unsigned integer)"
#define NOT_BELOW   "greater than or equal to lower-bound"

/* NULL, or why text is no range, owned by the caller. */
static char *range_error(const char *text, uint16_t *ret_lo, uint16_t *ret_hi)
{
	const char *dash = strchr(text, '-');
	_cleanup_free_ char *lo = xasprintf("%.*s", dash ? (int)(dash - text) : INT32_MAX, text);
	_cleanup_free_ char *error = NULL;
	const char *hi = dash ? dash + 1 : text;
	uint64_t from, to;

	if (strchr(dash ? hi : "", '-'))
		return xstrdup("ranges expected as <lower>-<upper>");
	if (go_parse_uint(lo, 16, &from, &error) < 0)
		return xasprintf("\"%s\" is not a valid lower-bound " NOT_16_BITS, lo);
	if (go_parse_uint(hi, 16, &to, &error) < 0)
		return xasprintf("\"%s\" is not a valid upper-bound: " NOT_16_BITS, hi);
	if (to < from)
		return xasprintf("\"%s\": upper-bound must be " NOT_BELOW, text);
	*ret_lo = (uint16_t)from;
	*ret_hi = (uint16_t)to;
	return NULL;
}

int linkerd_ports_parse(const struct istio_key *k, const char *value, enum weir_list list,
			struct lists *lists, char **ret_warning, char **ret_error)
{
	_cleanup_buf_ struct buf errors = { 0 };
	const char *rest = *value ? value : NULL;
	uint16_t lo = 0, hi = 0;
	bool spaces = false;
	size_t good = 0;

	while (rest && *rest) { /* nothing behind the last comma is no item */
		_cleanup_free_ char *item = next_item(&rest), *text = go_trim_space(item);
		_cleanup_free_ char *error = range_error(text, &lo, &hi);

		if (error) {
			buf_printf(&errors, "%sInvalid port range [%s]: %s", errors.len ? "; " : "",
				   text, error);
			continue;
		}
		lists_add_port(lists, list, lo, hi);
		good++;
		spaces |= strcmp(item, text) != 0;
	}
	if (errors.len && !good)
		return invalid_at(k, value, xstrdup(buf_text(&errors)), ret_error);
	*ret_warning = NULL;
	if (errors.len)
		invalid_at(k, value, xasprintf("%s (ignored)", buf_text(&errors)), ret_warning);
	else if (spaces)
		invalid_at(
			k, value,
			xstrdup("linkerd-init and linkerd-cni do not skip ports that have spaces "
				"around them; weir does"),
			ret_warning);
	return 0;
}

int linkerd_cidrs_parse(const struct istio_key *k, const char *value, enum weir_list list,
			struct lists *lists, char **ret_error)
{
	static const struct istio_key every_item = { .key = "" };
	_cleanup_free_ char *item = NULL, *error = NULL;
	bool loopback;

	if (add_cidrs(&every_item, *value ? value : NULL, true, list, lists, &loopback, &item,
		      &error) < 0)
		return invalid_at(k, value, xasprintf("%s is not a valid CIDR address", item),
				  ret_error);
	return 0;
}

int linkerd_id_parse(const struct istio_key *k, const char *value, int64_t *ret, char **ret_error)
{
	const bool negative = *value == '-';
	char *error = NULL;
	uint64_t id = 0;

	if (go_parse_uint(value + (negative || *value == '+'), 32, &id, &error) < 0)
		return invalid_at(k, value, error, ret_error);
	*ret = negative || id == UINT32_MAX ? -1 : (int64_t)id; /* (uid_t)-1 is nobody */
	return 0;
}

int annotation_choice(const char *key, const char *value, const char *first, const char *second,
		      bool *ret_first, char **ret_error)
{
	if (strcmp(value, first) && strcmp(value, second))
		return invalid(key, value, xasprintf("use %s or %s", first, second), ret_error);
	*ret_first = !strcmp(value, first);
	return 0;
}

int own_port_parse(const char *key, const char *value, uint16_t *ret, char **ret_error)
{
	const struct istio_key k = { .key = key };

	return istio_port_parse(&k, value, ret, ret_error);
}

int own_addrs_parse(const char *key, const char *value, enum weir_list list, struct lists *lists,
		    char **ret_error)
{
	const char *rest = value;
	struct weir_addr addr;

	for (size_t n = 0;; n++) {
		_cleanup_free_ char *item = next_argument(&rest);

		if (!item && !n)
			return invalid(key, value, xstrdup("it names no address"), ret_error);
		if (!item)
			return 0;
		if (inet_parse(item, addr.ip) < 0)
			return invalid(key, value, xasprintf("'%s' is no IP address", item),
				       ret_error);
		lists_add_cidr(lists, list, &addr, 128, weir_addr_is_v4(&addr));
	}
}
