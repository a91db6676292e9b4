/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an istio-init or istio-validation container is told on its command line: the options of
 * istio-iptables, in the grammar of the library that it reads them with (pflag).
 */
#ifndef WEIR_AGENT_INIT_ARGS_H
#define WEIR_AGENT_INIT_ARGS_H

#include "agent/pod.h"

/*
 * The value of the option with this long name, as it was written last: "true" for a switch without
 * a value, NULL when it is not there. The text belongs to the container. short_name may be 0.
 */
const char *init_arg(const struct pod_container *c, const char *long_name, char short_name);

#endif
