/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a former version's table may be read as this one's: by names, places and types of its
 * members. */
#include "agent/layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/cleanup.h"

struct member {
	const char *name;
	uint32_t size; /* of a number */
	uint32_t offset;
	uint32_t n; /* of an array's numbers; 0: it is one number */
};

enum { MEMBERS = 4 };

/* A struct within a struct, as the keys of tables are; returns the outer one's id. */
static uint32_t make(struct btf *btf, const struct member members[MEMBERS], uint32_t size)
{
	int types[MEMBERS] = { 0 }, inner, outer;
	char name[8] = "u32";

	for (int i = 0; i < MEMBERS && members[i].name; i++) {
		name[0] = (char)('a' + i);
		types[i] = btf__add_int(btf, name, members[i].size, 0);
		if (members[i].n)
			types[i] = btf__add_array(btf, types[i], types[i], members[i].n);
	}
	inner = btf__add_struct(btf, "inner", size);
	for (int i = 0; i < MEMBERS && members[i].name; i++)
		assert_int_equal(
			btf__add_field(btf, members[i].name, types[i], members[i].offset * 8, 0),
			0);
	outer = btf__add_struct(btf, "outer", size);
	assert_int_equal(btf__add_field(btf, "in", inner, 0, 0), 0);
	return (uint32_t)btf__add_typedef(btf, "outer_t", outer);
}

static const struct member now[MEMBERS] = {
	{ "sent", 4, 0, 0 }, { "received", 4, 4, 0 }, { "counts", 4, 8, 2 }, { "pad", 4, 16, 0 }
};

static const struct {
	const char *what;
	struct member members[MEMBERS];
	uint32_t size;
	const char *differs; /* NULL: nothing */
} formers[] = {
	{ "the same",
	  { { "sent", 4, 0, 0 },
	    { "received", 4, 4, 0 },
	    { "counts", 4, 8, 2 },
	    { "pad", 4, 16, 0 } },
	  20,
	  NULL },
	{ "padding that has become a member",
	  { { "pad", 4, 0, 0 }, { "received", 4, 4, 0 }, { "counts", 4, 8, 2 } },
	  20,
	  NULL },
	{ "two that have changed places",
	  { { "received", 4, 0, 0 }, { "sent", 4, 4, 0 }, { "counts", 4, 8, 2 } },
	  20,
	  "received" },
	{ "one of another meaning",
	  { { "sent", 4, 0, 0 }, { "lost", 4, 4, 0 }, { "counts", 4, 8, 2 } },
	  20,
	  "lost" },
	{ "one that has become padding",
	  { { "sent", 4, 0, 0 }, { "received", 4, 4, 0 }, { "last", 4, 16, 0 } },
	  20,
	  "last" },
	{ "one that is narrower now", { { "sent", 8, 0, 0 } }, 20, "sent" },
	{ "more of a kind", { { "counts", 4, 8, 3 } }, 20, "counts" },
	{ "another size", { { "sent", 4, 0, 0 } }, 24, "its type" },
};

static void test_formers(void **state)
{
	struct btf *is = btf__new_empty();
	uint32_t is_type = make(is, now, 20);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(formers); i++) {
		struct btf *was = btf__new_empty();
		uint32_t was_type = make(was, formers[i].members, formers[i].size);
		const char *name = "its type";
		bool kept = layout_is_kept(was, was_type, is, is_type, &name);

		if (kept != !formers[i].differs)
			fail_msg("%s: %s", formers[i].what, kept ? "kept" : name);
		if (!kept)
			assert_string_equal(name, formers[i].differs);
		btf__free(was);
	}
	btf__free(is);
}

static void test_what_is_not_known_is_taken(void **state)
{
	struct btf *is = btf__new_empty();
	uint32_t type = make(is, now, 20);
	const char *name = "its type";

	(void)state;
	assert_true(layout_is_kept(is, 0, is, type, &name));
	assert_true(layout_is_kept(is, type, is, 0, &name));
	btf__free(is);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formers),
		cmocka_unit_test(test_what_is_not_known_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
