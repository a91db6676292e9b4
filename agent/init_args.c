/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/init_args.h"

#include "base/buf.h"

#include <string.h>

/* Options that take no value from the next argument; `--switch=false` is how they are ended. */
static const char *const switches[] = {
	/* clang-format off */
	"redirect-dns", "capture-all-dns", "drop-invalid", "dual-stack", "dry-run", "skip-rule-apply",
	"run-validation", "reconcile", "cleanup-only", "force-apply", "native-nftables", "cni-mode",
	"log_as_json", "help", /* istio-iptables */
	"ipv6", "simulate", "use-wait-flag", "w", /* linkerd-init */
	/* clang-format on */
};

static bool is_switch(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(switches); i++)
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
	} else { /* -p value, -pvalue, -p=value */
		ret->name = arg + 1;
		ret->len = 1;
		ret->value = arg[2] ? arg + 2 + (arg[2] == '=') : NULL;
	}
	if (!ret->value && is_switch(ret->name, ret->len))
		ret->value = "true";
	if (!ret->value && *i < c->n_args)
		ret->value = c->args[(*i)++];
	return ret->value != NULL;
}

/* The value of the next option of that name, from *i on; NULL behind the last. */
static const char *next_value(const struct pod_container *c, size_t *i, const char *long_name,
			      char short_name)
{
	struct option o;

	while (*i < c->n_args && strcmp(c->args[*i], "--")) { /* the rest are no options */
		if (next_option(c, i, &o) &&
		    (o.len == 1 ? *o.name == short_name
				: o.len == strlen(long_name) && !strncmp(o.name, long_name, o.len)))
			return o.value;
	}
	return NULL;
}

const char *init_arg(const struct pod_container *c, const char *long_name, char short_name)
{
	const char *value, *last = NULL;
	size_t i = 0;

	while ((value = next_value(c, &i, long_name, short_name)))
		last = value;
	return last;
}

char *init_arg_list(const struct pod_container *c, const char *long_name, char short_name)
{
	const char *value;
	struct buf all = { 0 };
	size_t i = 0;

	while ((value = next_value(c, &i, long_name, short_name)))
		buf_printf(&all, "%s%s", all.data ? "," : "", value);
	return all.data;
}
