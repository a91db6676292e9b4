/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/init_args.h"

#include <string.h>

/* The options that take no value from the next argument; `--switch=false` is how they end it. */
static const char *const switches[] = {
	"redirect-dns",
	"capture-all-dns",
	"drop-invalid",
	"dual-stack",
	"dry-run",
	"skip-rule-apply",
	"run-validation",
	"reconcile",
	"cleanup-only",
	"force-apply",
	"native-nftables",
	"cni-mode",
	"log_as_json",
	"help",
	"host-filesystem-pod-network",
};

static bool is_switch(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++)
		if (strlen(switches[i]) == len && !strncmp(switches[i], name, len))
			return true;
	return false;
}

/* One argument of the command line, and the value that it has in itself or in the next one. */
struct option {
	const char *name; /* not terminated */
	size_t len;
	const char *value;
};

/* Reads the argument at *i, which moves behind it; false when it is no option. */
static bool next_option(const struct pod_container *c, size_t *i, struct option *ret)
{
	const char *arg = c->args[(*i)++], *equals;

	if (arg[0] != '-' || !arg[1])
		return false;
	if (arg[1] == '-') { /* --name=value, --name value, --switch */
		equals = strchr(arg, '=');
		ret->name = arg + 2;
		ret->len = equals ? (size_t)(equals - ret->name) : strlen(ret->name);
		ret->value = equals ? equals + 1 : NULL;
		if (!equals && is_switch(ret->name, ret->len))
			ret->value = "true";
	} else { /* -p value, -pvalue, -p=value */
		ret->name = arg + 1;
		ret->len = 1;
		ret->value = arg[2] ? arg + 2 + (arg[2] == '=') : NULL;
	}
	if (!ret->value && *i < c->n_args)
		ret->value = c->args[(*i)++];
	return ret->value != NULL;
}

const char *init_arg(const struct pod_container *c, const char *long_name, char short_name)
{
	const char *value = NULL;
	struct option o;

	for (size_t i = 0; i < c->n_args;) {
		if (!strcmp(c->args[i], "--"))
			break; /* the rest are no options */
		if (!next_option(c, &i, &o))
			continue;
		if (o.len == 1 ? *o.name == short_name
			       : o.len == strlen(long_name) && !strncmp(o.name, long_name, o.len))
			value = o.value;
	}
	return value;
}
