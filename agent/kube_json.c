/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_json.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "base/buf.h"

/* Nothing that is kept is deeper in an honest object; what is deeper is left out. */
#define MAX_DEPTH 32
/* One string longer than this is no Kubernetes object's: etcd takes 1.5 MiB for all of one. */
#define MAX_TOKEN (64UL << 20)

struct frame {
	json_t *value; /* an object or a list; owned until it is attached to the frame below */
	const struct keep *keep; /* of what is within; NULL: all */
	char *key; /* of the value that comes next */
	const struct keep *next; /* what is kept of that value */
	bool drop; /* nothing is */
	bool each; /* a list whose elements are handed on */
};

struct kube_json {
	const struct keep *keep;
	struct kube_json_handler handler;
	yajl_handle parser;
	struct frame frames[MAX_DEPTH];
	size_t depth;
	size_t skipping; /* containers open below a value that is not kept */
	size_t quiet; /* bytes since anything was recognised */
	bool stream;
	bool complete; /* a root has been handed on and nothing followed */
};

static struct frame *top(struct kube_json *j)
{
	return &j->frames[j->depth - 1];
}

/* Takes value. */
static void attach(struct kube_json *j, json_t *value)
{
	struct frame *f;

	if (!j->depth) {
		j->complete = true;
		j->handler.root(j->handler.ctx, value);
		json_decref(value);
		return;
	}
	f = top(j);
	if (f->each) {
		if (j->handler.item)
			j->handler.item(j->handler.ctx, value);
		json_decref(value);
	} else if (json_is_array(f->value)) {
		json_array_append_new(f->value, value);
	} else {
		json_object_set_new_nocheck(f->value, f->key, value);
	}
}

/* Is the value that comes now to be left out? */
static bool left_out(struct kube_json *j)
{
	j->quiet = 0;
	if (j->skipping)
		return true;
	if (!j->depth) {
		j->complete = false;
		return false;
	}
	return json_is_object(top(j)->value) && top(j)->drop;
}

static int scalar(struct kube_json *j, json_t *value)
{
	if (left_out(j))
		json_decref(value);
	else
		attach(j, value);
	return 1;
}

static int on_null(void *ctx)
{
	return scalar(ctx, json_null());
}

static int on_boolean(void *ctx, int value)
{
	return scalar(ctx, json_boolean(value));
}

static int on_number(void *ctx, const char *digits, size_t len)
{
	char text[64];
	long long whole;
	json_t *real;
	char *end;

	if (len >= sizeof(text))
		len = sizeof(text) - 1; /* no number that is read has as many digits */
	memcpy(text, digits, len);
	text[len] = '\0';
	errno = 0;
	whole = strtoll(text, &end, 10);
	if (!errno && !*end)
		return scalar(ctx, json_integer(whole));
	real = json_real(strtod(text, NULL));
	return scalar(ctx, real ?: json_null()); /* there is no JSON for infinity */
}

/* A NUL would end the string for everybody who reads it as C does: it becomes U+FFFD. */
static json_t *without_nul(const char *text, size_t len)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (size_t i = 0; i < len; i++) {
		if (text[i])
			buf_add(&b, text + i, 1);
		else
			buf_str(&b, "\xef\xbf\xbd");
	}
	return json_stringn_nocheck(buf_text(&b), b.len);
}

static int on_string(void *ctx, const unsigned char *data, size_t len)
{
	const char *text = (const char *)data;
	struct kube_json *j = ctx;

	if (left_out(j))
		return 1;
	attach(j,
	       memchr(text, '\0', len) ? without_nul(text, len) : json_stringn_nocheck(text, len));
	return 1;
}

static const struct keep *find(const struct keep *keep, const char *key, size_t len)
{
	for (; keep->key; keep++)
		if (strlen(keep->key) == len && !memcmp(keep->key, key, len))
			return keep;
	return NULL;
}

static int on_key(void *ctx, const unsigned char *key, size_t len)
{
	struct kube_json *j = ctx;
	struct frame *f;

	j->quiet = 0;
	if (j->skipping)
		return 1;
	f = top(j);
	f->next = f->keep ? find(f->keep, (const char *)key, len) : NULL;
	f->drop = (f->keep && !f->next) || memchr(key, '\0', len);
	free(f->key);
	f->key = f->drop ? NULL : strndup((const char *)key, len);
	return 1;
}

/* Takes value. */
static int open_container(struct kube_json *j, json_t *value)
{
	struct frame *below = j->depth ? top(j) : NULL;
	struct frame frame = { .value = value };
	bool keyed = below && json_is_object(below->value);

	if (left_out(j) || j->depth == MAX_DEPTH) {
		json_decref(value);
		j->skipping++;
		return 1;
	}
	if (!below)
		frame.keep = j->keep;
	else if (!keyed)
		frame.keep = below->keep;
	else if (below->next)
		frame.keep = below->next->below;
	frame.each = keyed && below->next && below->next->each && json_is_array(value);
	j->frames[j->depth++] = frame;
	return 1;
}

static int on_start_map(void *ctx)
{
	return open_container(ctx, json_object());
}

static int on_start_array(void *ctx)
{
	return open_container(ctx, json_array());
}

static int on_end(void *ctx)
{
	struct kube_json *j = ctx;
	json_t *value;

	j->quiet = 0;
	if (j->skipping) {
		j->skipping--;
		return 1;
	}
	value = top(j)->value;
	free(top(j)->key);
	j->depth--;
	attach(j, value);
	return 1;
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_start_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_start_array,
	.yajl_end_array = on_end,
};

struct kube_json *kube_json_new(const struct keep *keep, bool stream,
				const struct kube_json_handler *handler)
{
	struct kube_json *j = xcalloc(1, sizeof(*j));

	j->keep = keep;
	j->stream = stream;
	j->handler = *handler;
	j->parser = yajl_alloc(&callbacks, NULL, j);
	yajl_config(j->parser, yajl_allow_multiple_values, stream);
	return j;
}

void kube_json_free(struct kube_json *j)
{
	if (!j)
		return;
	for (; j->depth; j->depth--) {
		json_decref(top(j)->value);
		free(top(j)->key);
	}
	yajl_free(j->parser);
	free(j);
}

/* In yajl's words, on one line. */
static char *parse_error(struct kube_json *j)
{
	unsigned char *text = yajl_get_error(j->parser, 0, NULL, 0);
	char *error = xasprintf("not JSON: %s", (char *)text);

	yajl_free_error(j->parser, text);
	error[strcspn(error, "\n")] = '\0';
	return error;
}

int kube_json_feed(struct kube_json *j, const char *data, size_t len, char **ret_error)
{
	j->quiet += len;
	if (yajl_parse(j->parser, (const unsigned char *)data, len) != yajl_status_ok) {
		*ret_error = parse_error(j);
		return -EBADMSG;
	}
	if (j->quiet > MAX_TOKEN) {
		*ret_error = xasprintf("a single value of more than %lu MiB", MAX_TOKEN >> 20);
		return -EBADMSG;
	}
	return 0;
}

int kube_json_end(struct kube_json *j, char **ret_error)
{
	if (yajl_complete_parse(j->parser) != yajl_status_ok) {
		*ret_error = parse_error(j);
		return -EBADMSG;
	}
	if (j->depth || j->skipping || (!j->complete && !j->stream)) {
		*ret_error = xstrdup("the answer ends in the middle");
		return -EBADMSG;
	}
	return 0;
}
