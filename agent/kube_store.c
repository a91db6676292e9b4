/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_store.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"

struct place {
	char *key;
	size_t at;
	uint64_t digest; /* of what was kept of the object, but for its version */
	uint64_t uid; /* its hash; 0: not known */
	bool offered; /* no watch or list has told of it yet */
};

/* The same few operations on each of the typed lists of struct objects. */
struct list_ops {
	const char *kind;
	size_t (*count)(const struct objects *o);
	char *(*key)(const struct objects *o, size_t at);
	/* Appends what is parsed. */
	int (*add)(struct objects *o, const json_t *object, char **ret_error);
	/* Frees the one at `at` and puts the last in its place. */
	void (*drop)(struct objects *o, size_t at);
	/* Appends the one at `at` of another, where NULL stays. */
	void (*take)(struct objects *o, struct objects *from, size_t at);
};

#define OPS(type, items, n_items, NAMESPACE)                                        \
	static size_t type##_count(const struct objects *o)                         \
	{                                                                           \
		return o->n_items;                                                  \
	}                                                                           \
	static char *type##_key(const struct objects *o, size_t at)                 \
	{                                                                           \
		const struct type *item = o->items[at];                             \
                                                                                    \
		return xasprintf("%s/%s", NAMESPACE, item->name);                   \
	}                                                                           \
	static int type##_add(struct objects *o, const json_t *object, char **ret)  \
	{                                                                           \
		struct type *parsed;                                                \
		int err = type##_parse(object, &parsed, ret);                       \
                                                                                    \
		if (!err)                                                           \
			list_append(o->items, o->n_items, parsed);                  \
		return err;                                                         \
	}                                                                           \
	static void type##_drop(struct objects *o, size_t at)                       \
	{                                                                           \
		type##_free(o->items[at]);                                          \
		o->items[at] = o->items[--o->n_items];                              \
	}                                                                           \
	static void type##_take(struct objects *o, struct objects *from, size_t at) \
	{                                                                           \
		list_append(o->items, o->n_items, TAKE_PTR(from->items[at]));       \
	}

OPS(pod, pods, n_pods, item->namespace)
OPS(namespace, namespaces, n_namespaces, "")
OPS(node, nodes, n_nodes, "")
OPS(service, services, n_services, item->namespace)
OPS(endpoint_slice, slices, n_slices, item->namespace)

#define ROW(kind, type)                                                              \
	{                                                                            \
		kind, type##_count, type##_key, type##_add, type##_drop, type##_take \
	}

static const struct list_ops kinds[] = {
	ROW("Pod", pod),	 ROW("Namespace", namespace),	       ROW("Node", node),
	ROW("Service", service), ROW("EndpointSlice", endpoint_slice),
};

static const struct list_ops *ops(const struct kube_store *s)
{
	size_t i = 0;

	while (strcmp(kinds[i].kind, s->resource->kind))
		i++;
	return &kinds[i];
}

static int compare(const void *a, const void *b)
{
	return strcmp(((const struct place *)a)->key, ((const struct place *)b)->key);
}

static struct place *find(const struct kube_store *s, const char *key)
{
	struct place wanted = { .key = (char *)key };
	struct place **found = tfind(&wanted, &s->index, compare);

	return found ? *found : NULL;
}

static void place_free(void *p)
{
	struct place *e = p;

	free(e->key);
	free(e);
}

void kube_store_init(struct kube_store *s, const struct kube_resource *resource,
		     struct objects *objects)
{
	*s = (struct kube_store){ .resource = resource, .objects = objects };
}

void kube_store_free(struct kube_store *s)
{
	tdestroy(s->index, place_free);
	s->index = NULL;
	if (s->objects)
		objects_free(s->objects);
}

size_t kube_store_count(const struct kube_store *s)
{
	return ops(s)->count(s->objects);
}

static uint64_t hash(const char *text)
{
	return hash_bytes(HASH_BEGIN, text, strlen(text));
}

/* Of kinds whose uid is not kept there is but one of a name: 0. */
static uint64_t uid_of(const struct kube_store *s, const json_t *object)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *uid = NULL;

	if (s->resource == &kube_resources[KUBE_PODS_HERE])
		uid = json_string_value(json_object_get(metadata, "uid"));
	return uid && *uid ? hash(uid) : 0;
}

static bool is_another(const struct place *known, uint64_t uid)
{
	return known->uid && uid && known->uid != uid;
}

/* What is last in the list gets a name in the index. */
static void index_last(struct kube_store *s, uint64_t digest, uint64_t uid)
{
	struct place *e = xcalloc(1, sizeof(*e));

	e->at = kube_store_count(s) - 1;
	e->key = ops(s)->key(s->objects, e->at);
	e->digest = digest;
	e->uid = uid;
	tsearch(e, &s->index, compare);
}

static void drop(struct kube_store *s, struct place *e)
{
	size_t at = e->at;

	if (e->uid)
		s->gone[s->n_gone++ % KUBE_STORE_GONE] = e->uid;
	tdelete(e, &s->index, compare);
	place_free(e);
	ops(s)->drop(s->objects, at);
	if (at < kube_store_count(s)) {
		_cleanup_free_ char *moved = ops(s)->key(s->objects, at);

		find(s, moved)->at = at;
	}
}

static size_t failure_of(const struct kube_store *s, const char *key)
{
	size_t i = 0;

	while (i < s->objects->n_errors && strcmp(s->objects->failed[i], key))
		i++;
	return i;
}

static void forget_failure(struct kube_store *s, const char *key)
{
	struct objects *o = s->objects;
	size_t i = failure_of(s, key);

	if (i == o->n_errors)
		return;
	free(o->errors[i]);
	free(o->failed[i]);
	o->n_errors--;
	o->errors[i] = o->errors[o->n_errors];
	o->failed[i] = o->failed[o->n_errors];
}

/* Takes key and error. */
static const char *add_failure(struct kube_store *s, char *key, char *error)
{
	struct objects *o = s->objects;
	size_t n = o->n_errors;

	list_append(o->failed, n, key);
	list_append(o->errors, o->n_errors, error);
	return error;
}

/* Namespaces and Nodes are in none, whatever the object says. */
static char *key_of(const struct kube_store *s, const json_t *object)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *namespace = json_string_value(json_object_get(metadata, "namespace"));
	const char *name = json_string_value(json_object_get(metadata, "name"));

	if (!namespace || s->resource == &kube_resources[KUBE_NAMESPACES] ||
	    s->resource == &kube_resources[KUBE_NODES])
	namespace = "";
	return xasprintf("%s/%s", namespace, name ?: "");
}

/*
 * Only who can write the node's files may say where a pod's network namespace and cgroup are: an
 * annotation in the API is whatever somebody in the cluster wrote there.
 */
static void distrust(const json_t *object)
{
	json_t *annotations = json_object_get(json_object_get(object, "metadata"), "annotations");

	json_object_del(annotations, "weir.io/netns");
	json_object_del(annotations, "weir.io/cgroup");
}

/* Most changes of an object are changes of what is not kept, and of its version. */
static uint64_t digest_of(const json_t *object)
{
	_cleanup_free_ char *text = NULL;

	json_object_del(json_object_get(object, "metadata"), "resourceVersion");
	text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	return hash(text ?: "");
}

static int put(struct kube_store *s, const json_t *object, const char **ret_error)
{
	_cleanup_free_ char *key = key_of(s, object);
	struct place *known = find(s, key);
	uint64_t digest, uid = uid_of(s, object);
	char *error = NULL;
	int err;

	if (key[strlen(key) - 1] == '/') {
		*ret_error = "an object without a name";
		return -EINVAL;
	}
	if (s->resource ==
	    &kube_resources[KUBE_PODS_HERE]) /* of others no annotation places them */
		distrust(object);
	digest = digest_of(object);
	if (known && known->digest == digest && failure_of(s, key) == s->objects->n_errors)
		return 0;
	err = ops(s)->add(s->objects, object, &error);
	forget_failure(s, key);
	if (err < 0) {
		char *text = xasprintf("%s: %s", *key == '/' ? key + 1 : key, error);

		free(error);
		if (known && is_another(known, uid))
			drop(s, known); /* it is no earlier state of this one */
		*ret_error = add_failure(s, TAKE_PTR(key), text);
		return err;
	}
	if (known) { /* the new one, which is the last, takes the place of the old */
		ops(s)->drop(s->objects, known->at);
		known->digest = digest;
		known->uid = uid;
	} else {
		index_last(s, digest, uid);
	}
	return 1;
}

int kube_store_put(struct kube_store *s, const json_t *object, const char **ret_error)
{
	_cleanup_free_ char *key = key_of(s, object);
	struct place *known = find(s, key);

	if (known && known->offered) {
		if (is_another(known, uid_of(s, object)))
			return 0;
		known->offered = false;
	}
	return put(s, object, ret_error);
}

int kube_store_offer(struct kube_store *s, const json_t *object, const char **ret_error)
{
	_cleanup_free_ char *key = key_of(s, object);
	struct place *known = find(s, key);
	uint64_t uid = uid_of(s, object);
	int err;

	if (known && !is_another(known, uid))
		return 0;
	for (size_t i = 0; uid && i < KUBE_STORE_GONE; i++)
		if (s->gone[i] == uid)
			return 0;
	err = put(s, object, ret_error);
	if (err > 0)
		find(s, key)->offered = true;
	return err;
}

bool kube_store_remove(struct kube_store *s, const json_t *object)
{
	_cleanup_free_ char *key = key_of(s, object);
	struct place *known = find(s, key);
	bool failed = failure_of(s, key) < s->objects->n_errors;

	if (known && is_another(known, uid_of(s, object)))
		return false;
	if (known)
		drop(s, known);
	forget_failure(s, key);
	return known || failed;
}

void kube_store_replace(struct kube_store *s, struct kube_store *next)
{
	for (size_t i = 0; i < next->objects->n_errors; i++) {
		struct place *e = find(s, next->objects->failed[i]);

		if (!e)
			continue;
		ops(s)->take(next->objects, s->objects, e->at);
		index_last(next, e->digest, e->uid);
	}
	kube_store_free(s);
	*s->objects = *next->objects;
	s->index = next->index;
	*next->objects = (struct objects){ 0 };
	next->index = NULL;
}

bool kube_store_incomplete(const struct kube_store *s)
{
	for (size_t i = 0; i < s->objects->n_errors; i++)
		if (!find(s, s->objects->failed[i]))
			return true;
	return false;
}
