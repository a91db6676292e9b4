/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/layout.h"

#include <string.h>

/* Numbers, whether or not their values have names. */
static bool is_scalar(const struct btf_type *t)
{
	return btf_is_int(t) || btf_is_any_enum(t);
}

static bool members_are_kept(const struct btf *former, const struct btf_type *a,
			     const struct btf *now, const struct btf_type *b, const char **ret_name)
{
	const struct btf_member *was = btf_members(a), *is = btf_members(b);

	for (uint32_t i = 0; i < btf_vlen(a); i++) {
		const char *name = btf__name_by_offset(former, was[i].name_off);
		bool kept = strcmp(name, "pad") == 0;

		*ret_name = name;
		for (uint32_t j = 0; !kept && j < btf_vlen(b); j++)
			kept = strcmp(name, btf__name_by_offset(now, is[j].name_off)) == 0 &&
			       btf_member_bit_offset(a, i) == btf_member_bit_offset(b, j) &&
			       layout_is_kept(former, was[i].type, now, is[j].type, ret_name);
		if (!kept)
			return false;
	}
	return true;
}

bool layout_is_kept(const struct btf *former, uint32_t former_type, const struct btf *now,
		    uint32_t now_type, const char **ret_name)
{
	int a_id = btf__resolve_type(former, former_type), b_id = btf__resolve_type(now, now_type);
	const struct btf_type *a = a_id > 0 ? btf__type_by_id(former, (uint32_t)a_id) : NULL,
			      *b = b_id > 0 ? btf__type_by_id(now, (uint32_t)b_id) : NULL;

	if (!a || !b)
		return true;
	if (is_scalar(a) && is_scalar(b))
		return a->size == b->size;
	if (btf_kind(a) != btf_kind(b))
		return false;
	if (btf_is_array(a))
		return btf_array(a)->nelems == btf_array(b)->nelems &&
		       layout_is_kept(former, btf_array(a)->type, now, btf_array(b)->type,
				      ret_name);
	if (btf_is_composite(a))
		return a->size == b->size && members_are_kept(former, a, now, b, ret_name);
	return true;
}
