/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an istio-init, istio-validation or linkerd-init container is told on its command line, in
 * the grammar of the library that all of them read their options with (pflag).
 */
#ifndef WEIR_AGENT_INIT_ARGS_H
#define WEIR_AGENT_INIT_ARGS_H

#include "agent/pod.h"

/*
 * The value of the option with this long name, as it was written last: "true" for a switch without
 * a value, NULL when it is not there. The text belongs to the container. short_name may be 0.
 */
const char *init_arg(const struct pod_container *c, const char *long_name, char short_name);
/* An option that adds up when it is repeated: its values joined by commas, owned by the caller. */
char *init_arg_list(const struct pod_container *c, const char *long_name, char short_name);

#endif
