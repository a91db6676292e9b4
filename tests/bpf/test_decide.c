/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision inside BPF equals the decision in user space, over every combination of what it can
 * be asked. The unit tests say that the latter is right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>
#include <string.h>

#include "decide.skel.h"
#include "tests/bpf/decide.h"

static struct decide_bpf *skel;

static int load(void **state)
{
	(void)state;
	skel = decide_bpf__open_and_load();
	return skel ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	decide_bpf__destroy(skel);
	return 0;
}

static struct weir_answer expected(const struct decide_case *c)
{
	struct weir_answer answer = c->inbound ? weir_decide_inbound(&c->pod, &c->syn)
					       : weir_decide_outbound(&c->pod, &c->connect);

	return weir_decide_presence(&c->pod, answer, c->presence);
}

static void check_case(struct decide_case *c)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = c, .ctx_size_in = sizeof(*c));
	struct weir_answer want = expected(c);

	memset(&c->answer, 0xff, sizeof(c->answer));
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(skel->progs.decide), &opts), 0);
	assert_int_equal(opts.retval, 0);
	assert_int_equal(c->answer.verdict, want.verdict);
	assert_int_equal(c->answer.reason, want.reason);
	assert_int_equal(c->answer.port, want.port);
	assert_int_equal(c->answer.in_place, want.in_place);
}

static const struct weir_pod base = {
	.mode = WEIR_MODE_CAPTURE,
	.outbound_port = 15001,
	.inbound_port = 15006,
	.tunnel_port = 15008,
};

/* Each bit of `bits` sets one of the question's fields. */
static void set_connect(struct weir_connect *c, unsigned int bits)
{
	__u8 *const fields[] = { &c->v6,
				 &c->lo,
				 &c->loopback,
				 &c->passthrough,
				 &c->src_loopback,
				 &c->uid_is_proxy,
				 &c->gid_is_proxy,
				 &c->has_owner,
				 &c->port_excluded,
				 &c->port_included,
				 &c->cidr_excluded,
				 &c->cidr_included,
				 &c->udp,
				 &c->dns_server,
				 &c->group_excluded,
				 &c->in_port_excluded };

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		*fields[i] = bits >> i & 1;
}

static void outbound(void **state)
{
	static const __u32 flags[] = { WEIR_POD_IPV4 | WEIR_POD_IPV6 | WEIR_POD_OUT_ALL,
				       WEIR_POD_IPV4 | WEIR_POD_OUT_CIDRS | WEIR_POD_OUT_LOOPBACK,
				       WEIR_POD_IPV6 | WEIR_POD_OUT_PORTS,
				       WEIR_POD_IPV4 | WEIR_POD_DNS | WEIR_POD_TPROXY |
					       WEIR_POD_IN_ALL | WEIR_POD_GROUPS_EXCLUDE |
					       WEIR_POD_PROXY_UID };
	static const __u16 ports[] = { 80, 53, 15008 };

	(void)state;
	for (int rules = WEIR_RULES_ISTIO; rules <= WEIR_RULES_LINKERD; rules++)
		for (size_t f = 0; f < sizeof(flags) / sizeof(flags[0]); f++)
			for (unsigned int bits = 0; bits < 1 << 16; bits++) {
				struct decide_case c = { .pod = base };

				c.pod.rules = (enum weir_rules)rules;
				c.pod.flags = flags[f];
				c.connect.port = ports[bits % 3];
				set_connect(&c.connect, bits);
				if (bits & 2) /* and not the first */
					c.connect.uid_is_proxy *= WEIR_ID_PROXY_LATER;
				check_case(&c);
			}
}

static void inbound(void **state)
{
	static const __u16 ports[] = { 80, 15006, 15008 };

	(void)state;
	for (unsigned int bits = 0; bits < 1 << 6; bits++)
		for (size_t p = 0; p < 3; p++) {
			struct decide_case c = { .pod = base, .inbound = 1 };

			c.pod.flags = WEIR_POD_IPV4 | (bits & 32 ? WEIR_POD_IN_ALL : 0);
			c.syn = (struct weir_syn){ .port = ports[p],
						   .v6 = bits & 1,
						   .lo = bits >> 1 & 1,
						   .port_excluded = bits >> 2 & 1,
						   .port_included = bits >> 3 & 1,
						   .source_excluded = bits >> 4 & 1 };
			check_case(&c);
		}
}

static void modes_and_presence(void **state)
{
	(void)state;
	for (int mode = 0; mode < 3; mode++)
		for (int presence = 0; presence < 4; presence++)
			for (int absent = 0; absent < 4; absent++)
				for (int dir = 0; dir < 2; dir++) {
					struct decide_case c = { .pod = base, .inbound = dir };

					c.pod.mode = (enum weir_mode)mode;
					c.pod.flags =
						WEIR_POD_IPV4 | WEIR_POD_OUT_ALL | WEIR_POD_IN_ALL;
					c.pod.before_proxy = (enum weir_absent)(absent & 1);
					c.pod.proxy_down = (enum weir_absent)(absent >> 1);
					c.presence = (enum weir_presence)presence;
					check_case(&c);
				}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outbound),
		cmocka_unit_test(inbound),
		cmocka_unit_test(modes_and_presence),
	};

	return cmocka_run_group_tests_name("decide in BPF", tests, load, unload);
}
