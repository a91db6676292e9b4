/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands say when they fall back from the agent to what is pinned. */
#ifndef WEIR_CLI_FALLBACK_H
#define WEIR_CLI_FALLBACK_H

#include "cli/options.h"

/* One line on standard error: why the agent does not answer, and what that means for traffic. */
void fallback_say(const struct options *o, int ctl_err);

#endif
