// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The decision inside the kernel: a program that asks it what it is given, so that a table of cases
 * can be run through the very code that the hooks run, compiled for BPF and checked by the
 * verifier.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "tests/bpf/decide.h"

char _license[] SEC("license") = "Dual BSD/GPL";

__noinline int answer_connect(struct decide_case *c)
{
	struct weir_answer answer;

	if (!c)
		return -1;
	answer = weir_decide_outbound(&c->pod, &c->connect);
	c->answer = weir_decide_presence(&c->pod, answer, c->presence);
	return 0;
}

__noinline int answer_syn(struct decide_case *c)
{
	struct weir_answer answer;

	if (!c)
		return -1;
	answer = weir_decide_inbound(&c->pod, &c->syn);
	c->answer = weir_decide_presence(&c->pod, answer, c->presence);
	return 0;
}

SEC("syscall")
int decide(struct decide_case *ctx)
{
	struct decide_case c = *ctx;
	int err = c.inbound ? answer_syn(&c) : answer_connect(&c);

	ctx->answer = c.answer;
	return err;
}
