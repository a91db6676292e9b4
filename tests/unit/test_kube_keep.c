/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Of an object the streaming parser keeps what its resource's table names: does that hold every
 * field that is asked for? The linker puts the functions below between jansson and who asks
 * (--wrap), so that a new question without its row is found, whatever the sample holds.
 */
#include "agent/kube_json.h"
#include "agent/kube_store.h"
#include "agent/policy.h"
#include "agent/workload.h"
#include "base/buf.h"
#include "base/cleanup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

/* What may be asked of a value: below NULL is everything. */
struct known {
	const json_t *value;
	const struct keep *below;
};

static struct known known[256];
static size_t n_known;
static struct buf missing; /* what was asked for and is not kept */

json_t *__real_json_object_get(const json_t *object, const char *key);
json_t *__real_json_array_get(const json_t *array, size_t index);
json_t *__wrap_json_object_get(const json_t *object, const char *key);
json_t *__wrap_json_array_get(const json_t *array, size_t index);

static void remember(const json_t *value, const struct keep *below)
{
	if (!json_is_object(value) && !json_is_array(value))
		return;
	assert_true(n_known < ARRAY_SIZE(known));
	known[n_known++] = (struct known){ value, below };
}

static const struct known *find(const json_t *value)
{
	for (size_t i = 0; i < n_known; i++)
		if (known[i].value == value)
			return &known[i];
	return NULL;
}

static void ask(const struct known *of, const json_t *value, const char *key)
{
	const struct keep *row = of->below;

	while (row && row->key && strcmp(row->key, key))
		row++;
	if (row && !row->key) {
		_cleanup_free_ char *word = xasprintf(" %s ", key);

		if (!strstr(buf_text(&missing), word))
			buf_str(&missing, missing.len ? word + 1 : word);
		return;
	}
	remember(value, row ? row->below : NULL);
}

json_t *__wrap_json_object_get(const json_t *object, const char *key)
{
	const struct known *of = find(object);
	json_t *value = __real_json_object_get(object, key);

	if (of)
		ask(of, value, key);
	return value;
}

json_t *__wrap_json_array_get(const json_t *array, size_t index)
{
	const struct known *of = find(array);
	json_t *value = __real_json_array_get(array, index);

	if (of)
		remember(value, of->below);
	return value;
}

static const char pod[] =
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'cart-7d9f8c6b5d-x7k2p','namespace':"
	"'shop','uid':'u','labels':{'app':'cart','pod-template-hash':'7d9f8c6b5d'},'generateName':"
	"'cart-7d9f8c6b5d-','annotations':{'weir.io/takeover':'on','sidecar.istio.io/"
	"status':'{}','traffic.sidecar.istio.io"
	"/excludeOutboundPorts':'5432'},'creationTimestamp':'2026-01-01T00:00:00Z','managedFields':"
	"[{}],'ownerReferences':[{'kind':'ReplicaSet','name':'cart-7d9f8c6b5d','controller':true}]}"
	",'spec':{'nodeName':'a','hostNetwork':false,'hostUsers':true,'serviceAccountName':'cart',"
	"'dnsPolicy':'None','dnsConfig':{'nameservers':['10.96.0.10']},'securityContext':{'runAs"
	"User':1000,'runAsGroup':1000},'initContainers':[{'name':'istio-init','args':['istio-"
	"iptables','-p','15001','-z','15006','-u','1337','-m','REDIRECT','-i','*','-b','*'],'env':"
	"[{'name':'A','value':'b'}],'restartPolicy':'Always'}],'containers':[{'name':'istio-proxy',"
	"'args':['proxy'],'env':[{'name':'ISTIO_DUAL_STACK','value':'true'},{'name':'B','valueFrom'"
	":{'fieldRef':{}}}],'ports':[{'name':'http','containerPort':8080,'protocol':'TCP'}],"
	"'securityContext':{'runAsUser':1337,'runAsGroup':1337}}]},'status':{'phase':'Running',"
	"'podIP':'10.0.0.1','podIPs':[{'ip':'10.0.0.1'}],'hostIP':'192.0.2.1','hostIPs':[{'ip':"
	"'192.0.2.1'}],'containerStatuses':[{'name':'istio-proxy','containerID':'containerd://1'}],"
	"'initContainerStatuses':[{'name':'istio-init','containerID':'containerd://2'}]}}";

static const struct sample {
	enum kube_resource_id id;
	const char *text;
	const char *missing; /* on purpose: of pods elsewhere names and addresses do, and what is in
				no namespace names none */
} samples[] = {
	{ KUBE_PODS_HERE, pod, "" },
	{ KUBE_PODS_ELSEWHERE, pod,
	  " annotations args env securityContext hostUsers dnsPolicy dnsConfig " },
	{ KUBE_NAMESPACES,
	  "{'metadata':{'name':'shop','labels':{'a':'b'},'annotations':{'linkerd.io/inject':"
	  "'enabled'}}}",
	  " namespace " },
	{ KUBE_SERVICES,
	  "{'metadata':{'name':'cart','namespace':'shop','labels':{}},'spec':{'type':"
	  "'LoadBalancer','clusterIP':'10.96.0.1','clusterIPs':['10.96.0.1'],'externalIPs':"
	  "['192.0.2.7'],'selector':{'app':'cart'},'ports':[{'name':'http','port':80,'targetPort':"
	  "8080,'nodePort':30080,'protocol':'TCP'}]},'status':{'loadBalancer':{'ingress':[{'ip':"
	  "'192.0.2.8'}]}}}",
	  "" },
	{ KUBE_ENDPOINT_SLICES,
	  "{'metadata':{'name':'cart-1','namespace':'shop','labels':{'kubernetes.io/service-name':"
	  "'cart'}},'addressType':'IPv4','endpoints':[{'addresses':['10.0.0.1'],'targetRef':{'kind'"
	  ":'Pod','name':'cart-7d9f8c6b5d-x7k2p','namespace':'shop'}}],'ports':[{'name':'http',"
	  "'port':8080,'protocol':'TCP'}]}",
	  "" },
	{ KUBE_NODES,
	  "{'metadata':{'name':'a'},'status':{'addresses':[{'type':'InternalIP','address':"
	  "'192.0.2.1'}]}}",
	  " namespace " },
};

static json_t *json(const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text);

	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return json_loads(copy, 0, NULL);
}

/* Every question that is asked on the way into the store, as the agent takes an object in. */
static void test_asked(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct kube_resource *resource = &kube_resources[samples[i].id];
		struct objects objects = { 0 };
		struct kube_store store;
		const char *error = NULL;
		json_t *object = json(samples[i].text);

		assert_non_null(object);
		kube_store_init(&store, resource, &objects);
		n_known = 0;
		buf_free(&missing);
		remember(object, resource->object);
		assert_int_equal(kube_store_put(&store, object, &error), 1);
		n_known = 0;
		assert_string_equal(buf_text(&missing), samples[i].missing);
		kube_store_free(&store);
		json_decref(object);
	}
	buf_free(&missing);
}

static void keep_root(void *ctx, const json_t *root)
{
	*(json_t **)ctx = json_incref((json_t *)root);
}

static json_t *kept(const json_t *object, const struct keep *keep)
{
	json_t *result = NULL;
	struct kube_json_handler handler = { .root = keep_root, .ctx = &result };
	struct kube_json *stream = kube_json_new(keep, false, &handler);
	_cleanup_free_ char *text = json_dumps(object, 0);
	char *error = NULL;

	assert_int_equal(kube_json_feed(stream, text, strlen(text), &error), 0);
	assert_int_equal(kube_json_end(stream, &error), 0);
	kube_json_free(stream);
	return result;
}

static uint32_t compiled(const json_t *object, char **ret_workload, char **ret_kind)
{
	const struct policy_options options = { 0 };
	_cleanup_policy_ struct policy *policy = NULL;
	struct pod *parsed = NULL;
	char *error = NULL;

	assert_int_equal(pod_parse(object, &parsed, &error), 0);
	policy_compile(parsed, &options, &policy);
	assert_int_equal(policy->state, POLICY_CAPTURED);
	pod_workload(parsed, ret_workload, ret_kind);
	pod_free(parsed);
	return policy_generation(policy);
}

/* What is kept compiles to what the whole object compiles to. */
static void test_same_policy(void **state)
{
	json_t *whole = json(pod), *part = kept(whole, kube_resources[KUBE_PODS_HERE].object);
	char *workloads[2], *kinds[2];

	(void)state;
	assert_null(json_object_get(json_object_get(part, "metadata"), "managedFields"));
	assert_int_equal(compiled(whole, &workloads[0], &kinds[0]),
			 compiled(part, &workloads[1], &kinds[1]));
	assert_string_equal(workloads[0], workloads[1]);
	assert_string_equal(kinds[0], kinds[1]);
	for (size_t i = 0; i < 2; i++) {
		free(workloads[i]);
		free(kinds[i]);
	}
	json_decref(whole);
	json_decref(part);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_asked),
		cmocka_unit_test(test_same_policy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
