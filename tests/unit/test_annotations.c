/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammars and their error texts, which a user compares with what istiod says about the same
 * annotation.
 */
#include "agent/annotations.h"
#include "base/buf.h"
#include "base/inet.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const struct istio_key in_include = { ISTIO_IN_INCLUDE_PORTS, "includeInboundPorts", true,
					     false, NULL };
static const struct istio_key in_exclude = { ISTIO_IN_EXCLUDE_PORTS, "excludeInboundPorts", false,
					     false, NULL };
static const struct istio_key out_include = { ISTIO_OUT_INCLUDE_PORTS, NULL, false, false, NULL };
static const struct istio_key status_port = { ISTIO_STATUS_PORT, "excludeInboundPorts", false, true,
					      NULL };
static const struct istio_key ranges = { ISTIO_OUT_INCLUDE_RANGES, "includeIPRanges", true, false,
					 NULL };
static const struct istio_key no_ranges = { ISTIO_OUT_EXCLUDE_RANGES, "excludeIPRanges", false,
					    false, NULL };

/* "80 443 8000-8080" */
static char *show_ports(struct lists *lists)
{
	struct buf b = { 0 };

	lists_normalize(lists);
	buf_str(&b, "");
	for (size_t i = 0; i < lists->n_ports; i++) {
		buf_printf(&b, "%s%u", i ? " " : "", lists->ports[i].lo);
		if (lists->ports[i].hi != lists->ports[i].lo)
			buf_printf(&b, "-%u", lists->ports[i].hi);
	}
	return b.data;
}

static char *show_cidrs(struct lists *lists)
{
	char text[INET_TEXT];
	struct buf b = { 0 };

	lists_normalize(lists);
	buf_str(&b, "");
	for (size_t i = 0; i < lists->n_cidrs; i++) {
		const struct cidr *c = &lists->cidrs[i];
		bool v4 = inet_is_v4(c->addr.ip);

		buf_printf(&b, "%s%s/%d", i ? " " : "", inet_format(c->addr.ip, text),
			   v4 ? c->bits - 96 : c->bits);
	}
	return b.data;
}

#define SYNTAX		"invalid syntax"
#define RANGE		"value out of range"
#define PARSING(digits) "strconv.ParseUint: parsing \"" digits "\": "
#define TWICE(name, item, digits, why)                                              \
	name " invalid: failed parsing port '" item "': failed parsing port '" item \
	     "': " PARSING(digits) why

static const struct {
	const struct istio_key *key;
	const char *in, *out; /* NULL: "*" */
	const char *error; /* behind "invalid value '...' for annotation '...': " */
} istio_ports[] = {
	{ &in_include, "*", NULL, NULL },
	{ &in_include, "", "", NULL },
	{ &in_include, "  ", "", NULL },
	{ &in_include, "80", "80", NULL },
	{ &in_include, "80,443", "80 443", NULL },
	{ &in_include, " 80 ,\t443\n", "80 443", NULL },
	{ &in_include, "443,80,443,80", "80 443", NULL },
	{ &in_include, "0,65535", "0 65535", NULL },
	{ &in_include, "81,80,82,0080", "80-82", NULL }, /* as one range */
	{ &in_include, "\u00a080", "80", NULL },
	{ &in_include, "* ", "", TWICE("includeInboundPorts", "*", "*", SYNTAX) },
	{ &in_include, "80,*", "", TWICE("includeInboundPorts", "*", "*", SYNTAX) },
	{ &in_exclude, "*", "", TWICE("excludeInboundPorts", "*", "*", SYNTAX) },
	{ &in_exclude, "80,", "", TWICE("excludeInboundPorts", "", "", SYNTAX) },
	{ &in_exclude, ",", "", TWICE("excludeInboundPorts", "", "", SYNTAX) },
	{ &in_exclude, "80, http", "", TWICE("excludeInboundPorts", " http", "http", SYNTAX) },
	{ &in_exclude, "80-90", "", TWICE("excludeInboundPorts", "80-90", "80-90", SYNTAX) },
	{ &in_exclude, "65536", "", TWICE("excludeInboundPorts", "65536", "65536", RANGE) },
	{ &in_exclude, "80;443", "", TWICE("excludeInboundPorts", "80;443", "80;443", SYNTAX) },
	{ &in_exclude, "\u0663", "", TWICE("excludeInboundPorts", "\u0663", "\u0663", SYNTAX) },
	{ &out_include, "25, x\"", "",
	  "portList \"25, x\\\"\" invalid: failed parsing port \" x\\\"\": " PARSING("x\\\"")
		  SYNTAX },
	{ &out_include, "*", "",
	  "portList \"*\" invalid: failed parsing port \"*\": " PARSING("*") SYNTAX },
	{ &status_port, "15020", "15020", NULL },
	{ &status_port, " 0", "0", NULL },
	{ &status_port, "", "",
	  "excludeInboundPorts invalid: failed parsing port '': " PARSING("") SYNTAX },
	{ &status_port, "1,2", "",
	  "excludeInboundPorts invalid: failed parsing port '1,2': " PARSING("1,2") SYNTAX },
};

static void expect_invalid(const char *key, const char *value, const char *reason,
			   const char *error)
{
	_cleanup_free_ char *expected =
		xasprintf("invalid value '%s' for annotation '%s': %s", value, key, reason);

	assert_string_equal(error, expected);
}

static void test_istio_ports(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(istio_ports); i++) {
		_cleanup_free_ char *error = NULL, *shown = NULL;
		_cleanup_lists_ struct lists lists = { 0 };
		const char *in = istio_ports[i].in;
		bool all;

		if (istio_ports_parse(istio_ports[i].key, in, WEIR_LIST_IN_PORT_INCLUDE, &lists,
				      &all, &error) < 0) {
			assert_non_null(istio_ports[i].error);
			expect_invalid(istio_ports[i].key->key, in, istio_ports[i].error, error);
			continue;
		}
		assert_null(istio_ports[i].error);
		assert_int_equal(all, !istio_ports[i].out);
		shown = show_ports(&lists);
		assert_string_equal(shown, istio_ports[i].out ?: "");
	}
}

static const struct {
	const struct istio_key *key;
	const char *in, *out; /* NULL: "*" */
	bool loopback;
	const char *error;
} istio_cidrs[] = {
	{ &ranges, "*", NULL, false, NULL },
	{ &ranges, "", "", false, NULL },
	{ &ranges, "10.0.0.0/8", "10.0.0.0/8", false, NULL },
	{ &ranges, "10.1.2.3/8,10.0.0.0/8", "10.0.0.0/8", false, NULL }, /* masked, then the same */
	{ &ranges, "192.168.0.0/16,10.0.0.0/8,fd00::/8", "10.0.0.0/8 192.168.0.0/16 fd00::/8",
	  false, NULL },
	{ &ranges, "0.0.0.0/0", "0.0.0.0/0", false, NULL },
	{ &ranges, "127.0.0.0/8", "127.0.0.0/8", true, NULL },
	{ &ranges, "127.1.2.3/32", "127.1.2.3/32", true, NULL },
	{ &ranges, "10.0.0.0/8,::1/128", "::1/128 10.0.0.0/8", true, NULL },
	{ &ranges, "127.0.0.1/0", "0.0.0.0/0", true, NULL }, /* as written, not as masked */
	{ &ranges, "126.0.0.0/7", "126.0.0.0/7", false, NULL },
	{ &ranges, "10.0.0.0/8,10.0.0.0/16", "10.0.0.0/8 10.0.0.0/16", false, NULL },
	{ &ranges, "::ffff:10.0.0.0/104", "", false, NULL }, /* no packet has such an address */
	{ &ranges, "1.1.1.1", "", false,
	  "includeIPRanges invalid: failed parsing cidr '1.1.1.1': "
	  "netip.ParsePrefix(\"1.1.1.1\"): no '/'" },
	{ &ranges, "10.0.0.0/8, 1.1.1.1/32", "", false,
	  "includeIPRanges invalid: failed parsing cidr ' 1.1.1.1/32': "
	  "netip.ParsePrefix(\" 1.1.1.1/32\"): ParseAddr(\" 1.1.1.1\"): unexpected character (at "
	  "\" 1.1.1.1\")" },
	{ &ranges, "10.0.0.0/8,", "", false,
	  "includeIPRanges invalid: failed parsing cidr '': "
	  "netip.ParsePrefix(\"\"): no '/'" },
	{ &ranges, " ", "", false,
	  "includeIPRanges invalid: failed parsing cidr ' ': netip.ParsePrefix(\" \"): no '/'" },
	{ &no_ranges, "*", "", false,
	  "excludeIPRanges invalid: failed parsing cidr '*': netip.ParsePrefix(\"*\"): no '/'" },
	{ &no_ranges, "10.0.0.0/33", "", false,
	  "excludeIPRanges invalid: failed parsing cidr '10.0.0.0/33': "
	  "netip.ParsePrefix(\"10.0.0.0/33\"): prefix length out of range" },
	{ &no_ranges, "", "", false, NULL },
};

static void test_istio_cidrs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(istio_cidrs); i++) {
		_cleanup_free_ char *error = NULL, *shown = NULL;
		_cleanup_lists_ struct lists lists = { 0 };
		const char *in = istio_cidrs[i].in;
		bool all, loopback;

		if (istio_cidrs_parse(istio_cidrs[i].key, in, WEIR_LIST_OUT_CIDR_INCLUDE, &lists,
				      &all, &loopback, &error) < 0) {
			assert_non_null(istio_cidrs[i].error);
			expect_invalid(istio_cidrs[i].key->key, in, istio_cidrs[i].error, error);
			continue;
		}
		assert_null(istio_cidrs[i].error);
		assert_int_equal(all, !istio_cidrs[i].out);
		assert_int_equal(loopback, istio_cidrs[i].loopback);
		shown = show_cidrs(&lists);
		assert_string_equal(shown, istio_cidrs[i].out ?: "");
	}
}

static bool holds(const struct lists *lists, const char *text)
{
	struct weir_addr addr, masked;

	assert_int_equal(inet_parse(text, addr.ip), 0);
	for (size_t i = 0; i < lists->n_cidrs; i++) {
		masked = addr;
		for (int bit = lists->cidrs[i].bits; bit < 128; bit++)
			masked.ip[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
		if (weir_addr_equal(&masked, &lists->cidrs[i].addr))
			return true;
	}
	return false;
}

/* Both families share one trie: an IPv6 range, however short, must not catch IPv4 addresses. */
static void test_v6_ranges_are_v6(void **state)
{
	static const struct {
		const char *in;
		size_t n;
	} cases[] = { { "::/0", 96 },	      { "::/80", 16 },	      { "::/64", 32 },
		      { "::ffff:0:0/95", 1 }, { "::ffff:0:0/96", 0 }, { "::ffff:0:0/97", 0 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_lists_ struct lists lists = { 0 };
		bool all, loopback;
		char *error;

		assert_int_equal(istio_cidrs_parse(&ranges, cases[i].in, WEIR_LIST_OUT_CIDR_INCLUDE,
						   &lists, &all, &loopback, &error),
				 0);
		assert_int_equal(lists.n_cidrs, cases[i].n);
		assert_false(holds(&lists, "0.0.0.0"));
		assert_false(holds(&lists, "10.1.2.3"));
		assert_false(holds(&lists, "255.255.255.255"));
		assert_int_equal(holds(&lists, "::1"), i < 3);
		assert_int_equal(holds(&lists, "2001:db8::1"), i == 0);
		assert_int_equal(holds(&lists, "ffff::1"), i == 0);
		assert_int_equal(holds(&lists, "::fffe:102:304"), i < 4);
	}
}

static void test_interfaces(void **state)
{
	static const struct {
		const char *in;
		size_t n;
		const char *error;
	} cases[] = {
		{ "", 0, NULL },
		{ "eth0", 1, NULL },
		{ " eth0 , net1,eth0.100,a_b-c", 4, NULL },
		{ "eth0,eth0, eth0", 1, NULL }, /* twice is once */
		{ "0eth", 0, "interface name \"0eth\" contains invalid characters" },
		{ "_x", 0, "interface name \"_x\" contains invalid characters" },
		{ "abcdefghijklmno", 1, NULL },
		{ "eth0,", 0, "empty interface name" },
		{ " ", 0, "empty interface name" },
		{ "abcdefghijklmnop", 0,
		  "interface name \"abcdefghijklmnop\" too long (max 15 chars)" },
		{ "eth 0", 0, "interface name \"eth 0\" contains invalid characters" },
		{ ".eth0", 0, "interface name \".eth0\" contains invalid characters" },
		{ "eth+", 0, "interface name \"eth+\" contains invalid characters" },
		{ "\xc3\xa4", 0, "interface name \"\xc3\xa4\" contains invalid characters" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		static const struct istio_key key = { .key = ISTIO_EXCLUDE_INTERFACES };
		_cleanup_lists_ struct lists lists = { 0 };
		_cleanup_free_ char *error = NULL;

		if (istio_interfaces_parse(&key, cases[i].in, WEIR_LIST_IF_EXCLUDE, &lists,
					   &error) < 0) {
			assert_non_null(cases[i].error);
			expect_invalid(ISTIO_EXCLUDE_INTERFACES, cases[i].in, cases[i].error,
				       error);
			continue;
		}
		assert_null(cases[i].error);
		lists_normalize(&lists);
		assert_int_equal(lists.n_interfaces, cases[i].n);
	}
}

static const struct istio_key uid_key = { .where = "argument -u of container istio-init" };
#define WHERE(value) "invalid value '" value "' for argument -u of container istio-init: "

static const struct {
	const char *in;
	int64_t first;
	size_t more;
	const char *error;
} ids[] = {
	{ "", -1, 0, NULL },
	{ " , ", -1, 0, NULL },
	{ "0", 0, 0, NULL },
	{ "3,4", 3, 1, NULL },
	{ "3, 4,3,,4,", 3, 1, NULL },
	{ "4294967294", 4294967294, 0, NULL },
	{ "4294967295", 0, 0, WHERE("4294967295") "4294967295 is no id" },
	{ "-1", 0, 0,
	  WHERE("-1") "strconv.ParseUint: parsing \"-1\": invalid syntax (a name is known inside "
		      "of "
		      "the container only)" },
	{ "1337,java", 0, 0,
	  WHERE("1337,java") "strconv.ParseUint: parsing \"java\": invalid syntax (a name is known "
			     "inside of the container only)" },
};

static void test_ids(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		_cleanup_lists_ struct lists lists = { 0 };
		_cleanup_free_ char *error = NULL;
		int64_t first = -2;

		if (istio_ids_parse(&uid_key, ids[i].in, WEIR_LIST_PROXY_UID, &lists, &first,
				    &error) < 0) {
			assert_non_null(ids[i].error);
			assert_string_equal(error, ids[i].error);
			continue;
		}
		assert_null(ids[i].error);
		assert_int_equal(first, ids[i].first);
		lists_normalize(&lists);
		assert_int_equal(lists.n_ids, ids[i].more);
	}
}

static const struct {
	const char *in;
	size_t n_ids;
	const char *error; /* behind the place */
} groups[] = {
	{ "", 0, NULL },
	{ "7", 1, NULL },
	{ "7,8,7", 2, NULL },
	{ "1000-1010,1005-1015", 16, NULL },
	{ "9-8", 0, "9-8 ends before it begins" },
	{ "0-1024", 0, "0-1024 has more than 1024 groups" },
	{ "5-", 0,
	  "strconv.ParseUint: parsing \"\": invalid syntax (a name is known inside of the "
	  "container "
	  "only)" },
};

static void test_groups(void **state)
{
	static const struct istio_key key = { .where = "X" };
	_cleanup_lists_ struct lists many = { 0 };
	_cleanup_buf_ struct buf text = { 0 }, thousands = { 0 };
	char *too_many;
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(groups); i++) {
		_cleanup_lists_ struct lists lists = { 0 };
		_cleanup_free_ char *error = NULL, *expected = NULL;

		if (istio_groups_parse(&key, groups[i].in, WEIR_LIST_GROUP_EXCLUDE, &lists, &n,
				       &error) < 0) {
			assert_non_null(groups[i].error);
			expected = xasprintf("invalid value '%s' for X: %s", groups[i].in,
					     groups[i].error);
			assert_string_equal(error, expected);
			continue;
		}
		assert_null(groups[i].error);
		lists_normalize(&lists);
		assert_int_equal(lists.n_ids, groups[i].n_ids);
	}
	for (int i = 0; i < 66; i++)
		buf_printf(&thousands, "%d-%d,", 1000 * i, 1000 * i + 999);
	assert_int_equal(istio_groups_parse(&key, buf_text(&thousands), WEIR_LIST_GROUP_EXCLUDE,
					    &many, &n, &too_many),
			 -EINVAL);
	assert_non_null(strstr(too_many, "65000-65999: these are more than 65536 groups in all"));
	free(too_many);
	lists_free(&many);
	for (int i = 0; i < 65; i++)
		buf_printf(&text, "%d,", i);
	assert_int_equal(
		istio_groups_parse(&key, text.data, WEIR_LIST_GROUP_EXCLUDE, &many, &n, &too_many),
		0);
	assert_int_equal(
		istio_groups_parse(&key, text.data, WEIR_LIST_GROUP_INCLUDE, &many, &n, &too_many),
		-EINVAL);
	assert_non_null(strstr(too_many, "should be redirected to Envoy cannot exceed 64, got 65"));
	free(too_many);
}

static const struct {
	const char *in;
	uint8_t net[4], bits;
	const char *error;
} loopbacks[] = {
	{ "127.0.0.1/32", { 127, 0, 0, 1 }, 32, NULL },
	{ "127.0.0.1/8", { 127, 0, 0, 0 }, 8, NULL },
	{ "127.18.255.3/12", { 127, 16, 0, 0 }, 12, NULL },
	{ "127.0.0.1",
	  { 0 },
	  0,
	  "failed to parse CIDR 127.0.0.1: netip.ParsePrefix(\"127.0.0.1\"): no '/'" },
	{ "10.0.0.1/8",
	  { 0 },
	  0,
	  "expected valid IPv4 loopback address in CIDR 10.0.0.1/8; found 10.0.0.1" },
	{ "::1/128", { 0 }, 0, "expected valid IPv4 loopback address in CIDR ::1/128; found ::1" },
	{ "127.0.0.1/7",
	  { 0 },
	  0,
	  "expected CIDR 127.0.0.1/7 to have mask in range [8, 32]; found 7" },
	{ "", { 0 }, 0, "failed to parse CIDR : netip.ParsePrefix(\"\"): no '/'" },
};

static void test_loopback(void **state)
{
	static const struct istio_key key = { .where = "X" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(loopbacks); i++) {
		_cleanup_free_ char *error = NULL, *expected = NULL;
		uint8_t net[4], bits;

		if (istio_loopback_parse(&key, loopbacks[i].in, net, &bits, &error) < 0) {
			assert_non_null(loopbacks[i].error);
			expected = xasprintf("invalid value '%s' for X: %s", loopbacks[i].in,
					     loopbacks[i].error);
			assert_string_equal(error, expected);
			continue;
		}
		assert_null(loopbacks[i].error);
		assert_memory_equal(net, loopbacks[i].net, 4);
		assert_int_equal(bits, loopbacks[i].bits);
	}
}

static void test_mode_and_choice(void **state)
{
	static const struct istio_key key = { .key = ISTIO_MODE },
				      argument = { .where = "argument -m of container istio-init" };
	enum istio_mode mode = ISTIO_NONE;
	bool first = false;
	char *error;

	(void)state;
	assert_int_equal(istio_mode_parse(&key, "REDIRECT", &mode, &error), 0);
	assert_int_equal(mode, ISTIO_REDIRECT);
	assert_int_equal(istio_mode_parse(&key, "TPROXY", &mode, &error), 0);
	assert_int_equal(mode, ISTIO_TPROXY);
	assert_int_equal(istio_mode_parse(&key, "redirect", &mode, &error), -EINVAL);
	expect_invalid(ISTIO_MODE, "redirect",
		       "interceptionMode invalid, use REDIRECT,TPROXY,NONE: redirect", error);
	free(error);
	assert_int_equal(istio_mode_parse(&key, "NONE", &mode, &error), 0);
	assert_int_equal(mode, ISTIO_NONE);
	/* istio-iptables knows TPROXY, and takes everything else for REDIRECT */
	assert_int_equal(istio_mode_parse(&argument, "NONE", &mode, &error), 0);
	assert_int_equal(mode, ISTIO_REDIRECT);
	assert_int_equal(istio_mode_parse(&argument, "TPROXY", &mode, &error), 0);
	assert_int_equal(mode, ISTIO_TPROXY);
	assert_int_equal(annotation_choice("weir.io/capture", "on", "on", "off", &first, &error),
			 0);
	assert_true(first);
	assert_int_equal(annotation_choice("weir.io/capture", "true", "on", "off", &first, &error),
			 -EINVAL);
	expect_invalid("weir.io/capture", "true", "use on or off", error);
	free(error);
}

static const struct {
	const char *in, *out, *warning, *error;
} linkerd_ports[] = {
	{ "", "", NULL, NULL },
	{ "25", "25", NULL, NULL },
	{ "25, 26 ,8100-8102", "25-26 8100-8102",
	  "linkerd-init and linkerd-cni do not skip ports that have spaces around them; weir does",
	  NULL },
	{ "4567,4568,", "4567-4568", NULL, NULL },
	{ "0-65535", "0-65535", NULL, NULL },
	{ "23-23", "23", NULL, NULL },
	{ "8100-8102,8101-8200,22", "22 8100-8200", NULL, NULL },
	{ "25,abc", "25",
	  "Invalid port range [abc]: \"abc\" is not a valid lower-bound (must be a 16-bit unsigned "
	  "integer) "
	  "(ignored)",
	  NULL },
	{ "25,,26", "25-26",
	  "Invalid port range []: \"\" is not a valid lower-bound (must be a 16-bit unsigned "
	  "integer) "
	  "(ignored)",
	  NULL },
	{ "25,9-1,x-2", "25",
	  "Invalid port range [9-1]: \"9-1\": upper-bound must be greater than or equal to "
	  "lower-bound; "
	  "Invalid port range [x-2]: \"x\" is not a valid lower-bound (must be a 16-bit unsigned "
	  "integer) (ignored)",
	  NULL },
	{ "abc", "", NULL,
	  "Invalid port range [abc]: \"abc\" is not a valid lower-bound (must be a 16-bit unsigned "
	  "integer)" },
	{ "-23", "", NULL,
	  "Invalid port range [-23]: \"\" is not a valid lower-bound (must be a 16-bit unsigned "
	  "integer)" },
	{ "-23-25", "", NULL, "Invalid port range [-23-25]: ranges expected as <lower>-<upper>" },
	{ "23-notanumber", "", NULL,
	  "Invalid port range [23-notanumber]: \"notanumber\" is not a valid upper-bound: (must be "
	  "a "
	  "16-bit unsigned integer)" },
	{ "65536-65539", "", NULL,
	  "Invalid port range [65536-65539]: \"65536\" is not a valid lower-bound (must be a "
	  "16-bit "
	  "unsigned integer)" },
	{ "25-23", "", NULL,
	  "Invalid port range [25-23]: \"25-23\": upper-bound must be greater than or equal to "
	  "lower-bound" },
};

static void test_linkerd_ports(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(linkerd_ports); i++) {
		_cleanup_free_ char *error = NULL, *warning = NULL, *shown = NULL;
		_cleanup_lists_ struct lists lists = { 0 };
		const char *in = linkerd_ports[i].in;

		if (linkerd_ports_parse(&(struct istio_key){ .key = LINKERD_SKIP_IN }, in,
					WEIR_LIST_IN_PORT_EXCLUDE, &lists, &warning, &error) < 0) {
			assert_non_null(linkerd_ports[i].error);
			expect_invalid(LINKERD_SKIP_IN, in, linkerd_ports[i].error, error);
			continue;
		}
		assert_null(linkerd_ports[i].error);
		shown = show_ports(&lists);
		assert_string_equal(shown, linkerd_ports[i].out);
		if (linkerd_ports[i].warning)
			expect_invalid(LINKERD_SKIP_IN, in, linkerd_ports[i].warning, warning);
		else
			assert_null(warning);
	}
}

static void test_linkerd_others(void **state)
{
	static const char *const bad_ids[] = { "root", "", "4294967296", "1.5", "-x", " 5" };
	_cleanup_free_ char *error = NULL, *shown = NULL;
	_cleanup_lists_ struct lists lists = { 0 };
	int64_t id = 7;

	(void)state;
	assert_int_equal(linkerd_cidrs_parse(&(struct istio_key){ .key = LINKERD_SKIP_SUBNETS },
					     "1.1.1.1/24 , 10.0.0.0/8,fd00::/8",
					     WEIR_LIST_IN_SOURCE_EXCLUDE, &lists, &error),
			 0);
	shown = show_cidrs(&lists);
	assert_string_equal(shown, "1.1.1.0/24 10.0.0.0/8 fd00::/8");
	assert_int_equal(linkerd_cidrs_parse(&(struct istio_key){ .key = LINKERD_SKIP_SUBNETS },
					     "1.1.1.1/24, 0.0.0.0", WEIR_LIST_IN_SOURCE_EXCLUDE,
					     &lists, &error),
			 -EINVAL);
	expect_invalid(LINKERD_SKIP_SUBNETS, "1.1.1.1/24, 0.0.0.0",
		       "0.0.0.0 is not a valid CIDR address", error);
	free(TAKE_PTR(error));
	assert_int_equal(
		linkerd_id_parse(&(struct istio_key){ .key = LINKERD_UID }, "2102", &id, &error),
		0);
	assert_int_equal(id, 2102);
	assert_int_equal(
		linkerd_id_parse(&(struct istio_key){ .key = LINKERD_UID }, "-1", &id, &error), 0);
	assert_int_equal(id, -1);
	for (size_t i = 0; i < ARRAY_SIZE(bad_ids); i++) {
		assert_int_equal(linkerd_id_parse(&(struct istio_key){ .key = LINKERD_UID },
						  bad_ids[i], &id, &error),
				 -EINVAL);
		free(TAKE_PTR(error));
	}
}

static void test_huge(void **state)
{
	_cleanup_buf_ struct buf ports = { 0 }, cidrs = { 0 };
	_cleanup_lists_ struct lists lists = { 0 };
	bool all, loopback;
	char *error;

	(void)state;
	for (int i = 0; i < 10000; i++) {
		buf_printf(&ports, "%s%d", i ? "," : "", 1 + 2 * (i % 5000)); /* each twice */
		buf_printf(&cidrs, "%s10.%d.%d.0/24", i ? "," : "", i / 256, i % 256);
	}
	assert_int_equal(istio_ports_parse(&in_exclude, ports.data, WEIR_LIST_IN_PORT_EXCLUDE,
					   &lists, &all, &error),
			 0);
	assert_int_equal(istio_cidrs_parse(&ranges, cidrs.data, WEIR_LIST_OUT_CIDR_INCLUDE, &lists,
					   &all, &loopback, &error),
			 0);
	lists_normalize(&lists);
	assert_int_equal(lists.n_ports, 5000);
	assert_int_equal(lists.n_cidrs, 10000);
}

/* Ranges of one list join, those of two lists do not. */
static void test_normalize(void **state)
{
	_cleanup_lists_ struct lists lists = { 0 };

	(void)state;
	lists_normalize(&lists);
	lists_add_port(&lists, WEIR_LIST_IN_PORT_EXCLUDE, 65535, 65535);
	lists_add_port(&lists, WEIR_LIST_OUT_PORT_EXCLUDE, 10, 20);
	lists_add_port(&lists, WEIR_LIST_IN_PORT_EXCLUDE, 0, 65534);
	lists_add_port(&lists, WEIR_LIST_IN_PORT_EXCLUDE, 5, 6);
	lists_add_port(&lists, WEIR_LIST_OUT_PORT_EXCLUDE, 22, 22);
	lists_normalize(&lists);
	assert_int_equal(lists.n_ports, 3);
	assert_int_equal(lists.ports[0].list, WEIR_LIST_OUT_PORT_EXCLUDE);
	assert_int_equal(lists.ports[0].hi, 20);
	assert_int_equal(lists.ports[1].lo, 22);
	assert_int_equal(lists.ports[2].lo, 0);
	assert_int_equal(lists.ports[2].hi, 65535);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_istio_ports),
		cmocka_unit_test(test_istio_cidrs),
		cmocka_unit_test(test_v6_ranges_are_v6),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_mode_and_choice),
		cmocka_unit_test(test_linkerd_ports),
		cmocka_unit_test(test_linkerd_others),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_normalize),
	};

	return cmocka_run_group_tests_name("annotations", tests, NULL, NULL);
}
