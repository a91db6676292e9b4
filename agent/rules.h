/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The iptables rules that istio-init, istio-cni, linkerd-init or linkerd-cni have loaded into a
 * pod's network namespace: asked of the kernel itself, whatever the pod's object says.
 */
#ifndef WEIR_AGENT_RULES_H
#define WEIR_AGENT_RULES_H

#include <stdbool.h>
#include <stdint.h>

/* Which of the kernel's two tables of rules hold them; also which command removes them. */
enum rules_kind {
	RULES_NFT_V4 = 1 << 0,
	RULES_NFT_V6 = 1 << 1,
	RULES_LEGACY_V4 = 1 << 2,
	RULES_LEGACY_V6 = 1 << 3,
	RULES_NFT_NATIVE = 1 << 4, /* Istio's own nftables tables, without iptables */
};

/*
 * What there is: 0 or several enum rules_kind. Changes nothing there and loads no module that is
 * not loaded for that namespace. -errno when the namespace cannot be entered.
 */
int rules_find(int netns_fd, uint32_t *ret_kinds);

/*
 * The command that removes them, to be run on the node; the caller's. Connections that they had
 * redirected go on; other rules stay.
 */
char *rules_removal(uint32_t kinds, const char *netns);

#endif
