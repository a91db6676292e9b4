/* SPDX-License-Identifier: Apache-2.0 */
/* JSON that arrives in pieces: what is kept, what is handed on, what is refused. ' stands for ". */
#include "agent/kube_json.h"
#include "base/buf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const struct keep spec[] = { { .key = "node" }, { 0 } };
static const struct keep object[] = { { .key = "name" }, { .key = "spec", .below = spec }, { 0 } };
static const struct keep list[] = { { .key = "version" },
				    { .key = "items", .below = object, .each = true },
				    { 0 } };

struct seen {
	struct buf items, roots; /* one line each */
};

static void add_line(struct buf *b, const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);

	buf_printf(b, "%s\n", text);
	free(text);
}

static void on_item(void *ctx, const json_t *item)
{
	add_line(&((struct seen *)ctx)->items, item);
}

static void on_root(void *ctx, const json_t *root)
{
	add_line(&((struct seen *)ctx)->roots, root);
}

/* In pieces of `step` bytes. */
static int parse(const char *text, const struct keep *keep, bool stream, size_t step,
		 struct seen *seen)
{
	struct kube_json_handler handler = { .item = on_item, .root = on_root, .ctx = seen };
	struct kube_json *j = kube_json_new(keep, stream, &handler);
	_cleanup_free_ char *json = xstrdup(text), *error = NULL;
	size_t len = strlen(text);
	int err = 0;

	for (char *c = json; *c; c++)
		if (*c == '\'')
			*c = '"';
	for (size_t at = 0; !err && at < len; at += step)
		err = kube_json_feed(j, json + at, len - at < step ? len - at : step, &error);
	if (!err)
		err = kube_json_end(j, &error);
	assert_true(!err == !error);
	kube_json_free(j);
	return err;
}

static void seen_free(struct seen *seen)
{
	buf_free(&seen->items);
	buf_free(&seen->roots);
}

static void expect(const char *text, const struct keep *keep, bool stream, const char *items,
		   const char *roots)
{
	static const size_t steps[] = { 1, 2, 3, 7, 1000 };

	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		struct seen seen = { 0 };
		_cleanup_free_ char *want_items = xstrdup(items), *want_roots = xstrdup(roots);

		for (char *c = want_items; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		for (char *c = want_roots; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		assert_int_equal(parse(text, keep, stream, steps[i], &seen), 0);
		assert_string_equal(buf_text(&seen.items), want_items);
		assert_string_equal(buf_text(&seen.roots), want_roots);
		seen_free(&seen);
	}
}

static void test_list(void **state)
{
	(void)state;
	expect("{'kind':{'a':[1]},'items':[{'name':'a','spec':{'node':'n','big':[{'x':[]}]},'z':1},"
	       "{'spec':{'other':{}},'name':'b'},7,null],'version':'5'}",
	       list, false, "{'name':'a','spec':{'node':'n'}}\n{'name':'b','spec':{}}\n7\nnull\n",
	       "{'items':[],'version':'5'}\n");
}

static void test_stream(void **state)
{
	(void)state;
	expect("{'name':'a'}\n{'name':'b','x':{}} 5\n\n[{'name':1,'q':2}]", object, true, "",
	       "{'name':'a'}\n{'name':'b'}\n5\n[{'name':1}]\n");
}

static void test_values(void **state)
{
	(void)state;
	expect("{'name':[1,-2.5,true,false,null,'x\\u00e9\\n',99999999999999999999,1e999]}", object,
	       false, "", "{'name':[1,-2.5,true,false,null,'x\xc3\xa9\\n',1e20,null]}\n");
	/* a NUL would end the string for those who read it */
	expect("{'name':'a\\u0000b'}", object, false, "",
	       "{'name':'a\xef\xbf\xbd"
	       "b'}\n");
	/* items that are no list are not handed on */
	expect("{'items':{'name':1,'other':2}}", list, false, "", "{'items':{'name':1}}\n");
}

static void test_deep(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct seen seen = { 0 };

	(void)state;
	buf_str(&b, "{'name':");
	for (int i = 0; i < 10000; i++)
		buf_str(&b, "[");
	for (int i = 0; i < 10000; i++)
		buf_str(&b, "]");
	buf_str(&b, ",'spec':{'node':'n'}}");
	assert_int_equal(parse(buf_text(&b), object, false, 100, &seen), 0);
	assert_non_null(strstr(buf_text(&seen.roots), "\"node\":\"n\""));
	seen_free(&seen);
}

static void test_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"{",
		"{'name':",
		"{'name':'a'",
		"{'name':'a'}}",
		"{'name':'a'}{}",
		"{'x':[{'y':1}",
		"nothing",
		"{'name':'\xff\xfe'}",
		"{'name' 'a'}",
		"[1,]",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (size_t step = 1; step < 4; step++) {
			struct seen seen = { 0 };

			if (parse(texts[i], object, false, step, &seen) != -EBADMSG)
				fail_msg("accepted: %s", texts[i]);
			seen_free(&seen);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),	cmocka_unit_test(test_stream),
		cmocka_unit_test(test_values),	cmocka_unit_test(test_deep),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
