/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/captured.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/shared_files.h"

/* What could not be written is tried again after the next run. */
static void on_written(void *ctx, int err)
{
	struct captured *c = ctx;

	if (err && !c->failed)
		log_warn("cannot write", "file", c->path, "error", strerror(-err), "effect",
			 "weir-cni does not know which pods to hold up while no agent runs", NULL);
	c->failed = err != 0;
	if (!err)
		return;
	free(c->text);
	c->text = NULL;
}

int captured_open(struct captured *c, struct loop *loop, const char *state_dir, const char *run_dir)
{
	static const char *const markers[] = { RUN_CNI_AWAY, RUN_CNI_SILENT };

	*c = (struct captured){ .path = xasprintf("%s/" STATE_CAPTURED, state_dir) };
	for (size_t i = 0; i < ARRAY_SIZE(markers); i++) {
		_cleanup_free_ char *marker = xasprintf("%s/%s", run_dir, markers[i]);

		unlink(marker);
	}
	return writer_open(&c->writer, c->path, loop, on_written, c);
}

void captured_close(struct captured *c)
{
	writer_close(c->writer);
	free(c->path);
	free(c->text);
	*c = (struct captured){ 0 };
}

/* Would a pod there that says nothing itself have a sidecar injected? */
static bool injects(const struct policy_options *o, const struct namespace *namespace)
{
	static const struct pod silent;
	bool both = o->meshes == POLICY_MESH_AUTO;

	return ((both || o->meshes == POLICY_MESH_ISTIO) &&
		pod_asks_for_istio(&silent, &namespace->labels)) ||
	       ((both || o->meshes == POLICY_MESH_LINKERD) &&
		pod_asks_for_linkerd(&silent, &namespace->annotations, &namespace->labels));
}

static json_t *namespaces_json(const struct reconciler *r)
{
	json_t *list = json_array();

	for (const struct source_file *f = r->source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_namespaces; i++)
			if (injects(&r->options, f->objects.namespaces[i]))
				json_array_append_new(list,
						      json_string(f->objects.namespaces[i]->name));
	return list;
}

/* A policy that is wrong is one that would capture. */
static json_t *pods_json(const struct reconciler *r)
{
	json_t *pods = json_object();

	for (const struct managed *m = r->pods; m; m = m->next)
		if (*m->uid)
			json_object_set_new(pods, m->uid,
					    json_boolean(m->policy->pod.mode != WEIR_MODE_OBSERVE));
	return pods;
}

static bool lists(const json_t *names, const char *name)
{
	const char *item;
	json_t *value;
	size_t i;

	json_array_foreach ((json_t *)names, i, value)
		if ((item = json_string_value(value)) && !strcmp(item, name))
			return true;
	return false;
}

bool captured_expected(const struct captured *c, const struct reconciler *r,
		       const struct sandbox *sandbox)
{
	const struct namespace *namespace = source_namespace(r->source, sandbox->namespace);
	json_t *state = c->text ? json_loads(c->text, 0, NULL) : json_load_file(c->path, 0, NULL);
	const json_t *pod = json_object_get(json_object_get(state, "pods"), sandbox->uid);
	bool expected = pod ? json_is_true(pod)
			: namespace
				? injects(&r->options, namespace)
				: lists(json_object_get(state, "namespaces"), sandbox->namespace);

	json_decref(state);
	return expected;
}

void captured_update(struct captured *c, const struct reconciler *r)
{
	_cleanup_free_ char *text = NULL;
	json_t *json;

	if (!c->writer || source_incomplete(r->source))
		return;
	json = json_pack("{s:o, s:o}", "namespaces", namespaces_json(r), "pods", pods_json(r));
	text = json_dumps(json, JSON_INDENT(1) | JSON_SORT_KEYS);
	json_decref(json);
	if (!text || (c->text && !strcmp(c->text, text)))
		return;
	free(c->text);
	c->text = TAKE_PTR(text);
	writer_put(c->writer, xstrdup(c->text));
}
