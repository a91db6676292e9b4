/* SPDX-License-Identifier: Apache-2.0 */
/* Pods as kubectl prints them, and all that is not one. Inline JSON has ' for ". */
#include "agent/object.h"
#include "agent/pod.h"
#include "base/buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static json_t *load(const char *text)
{
	_cleanup_free_ char *json = xstrdup(text);
	json_t *root;

	for (char *c = json; *c; c++)
		if (*c == '\'')
			*c = '"';
	root = json_loads(json, JSON_DECODE_ANY, NULL);
	if (!root)
		fail_msg("bad test data: %s", text);
	return root;
}

static struct pod *parse(const char *text)
{
	json_t *root = load(text);
	struct pod *pod = NULL;
	char *error = NULL;

	if (pod_parse(root, &pod, &error) < 0)
		fail_msg("%s", error);
	json_decref(root);
	return pod;
}

static const char full[] =
	"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'cart-84f5c9-x2v4z','generateName':'"
	"cart-84f5c9-',"
	" 'namespace':'shop','uid':'6f9c','labels':{'app':'cart','empty':''},"
	" 'annotations':{'sidecar.istio.io/status':'{}','traffic.sidecar.istio.io/"
	"includeInboundPorts':'',"
	"  'gone':null},"
	" 'ownerReferences':[{'kind':'Other','name':'o'},{'apiVersion':'apps/"
	"v1','kind':'ReplicaSet',"
	"  'name':'cart-84f5c9','controller':true},{'kind':'Second','name':'s','controller':true}],"
	" 'managedFields':[{'manager':'kubectl'}]},"
	"'spec':{'nodeName':'n1','serviceAccountName':'cart','hostUsers':false,"
	" 'securityContext':{'runAsUser':1000,'fsGroup':2000},"
	" 'initContainers':[{'name':'istio-proxy','restartPolicy':'Always','args':['proxy','"
	"sidecar'],"
	"  'env':[{'name':'A','value':'1'},{'name':'B','valueFrom':{'fieldRef':{'fieldPath':'x'}}},"
	"   {'name':'A','value':'2'}],"
	"  'securityContext':{'runAsUser':1337,'runAsGroup':0}}],"
	" 'containers':[{'name':'app','ports':[{'containerPort':8080,'name':'http'},"
	"  {'containerPort':53,'protocol':'UDP'},{'containerPort':9000,'protocol':'TCP'}]}]},"
	"'status':{'phase':'Running','podIP':'10.0.0.7','podIPs':[{'ip':'10.0.0.7'},{'ip':'fd00::7'"
	"}]}}";

static void test_full(void **state)
{
	_cleanup_pod_ struct pod *pod = parse(full);
	const struct pod_container *app = pod_container(pod, "app");

	(void)state;
	assert_string_equal(pod->namespace, "shop");
	assert_string_equal(pod->name, "cart-84f5c9-x2v4z");
	assert_string_equal(pod->generate_name, "cart-84f5c9-");
	assert_string_equal(pod->uid, "6f9c");
	assert_string_equal(pod->owner_kind, "ReplicaSet"); /* the first controller */
	assert_string_equal(pod->owner_name, "cart-84f5c9");
	assert_string_equal(pod->node_name, "n1");
	assert_string_equal(pod->service_account, "cart");
	assert_string_equal(pod->phase, "Running");
	assert_false(pod->host_network);
	assert_false(pod->host_users);
	assert_false(pod->deleting);
	assert_false(pod_finished(pod));
	assert_int_equal(pod->run_as_user, 1000);
	assert_int_equal(pod->run_as_group, -1);
	assert_int_equal(pod->n_ips, 2);
	assert_true(weir_addr_is_v4(&pod->ips[0]));
	assert_int_equal(pod->ips[1].ip[15], 7);
	assert_int_equal(app->run_as_user, -1);
	assert_int_equal(app->n_ports, 3);
	assert_int_equal(app->ports[0].port, 8080);
	assert_string_equal(app->ports[0].name, "http");
	assert_false(app->ports[0].udp);
	assert_true(app->ports[1].udp);
	assert_null(app->ports[1].name);
	assert_false(app->ports[2].udp);
}

static void test_lookups(void **state)
{
	_cleanup_pod_ struct pod *pod = parse(full);
	const struct pod_container *proxy = pod_container(pod, "istio-proxy");

	(void)state;
	/* "" and absent differ; null is absent */
	assert_string_equal(pod_annotation(pod, "traffic.sidecar.istio.io/includeInboundPorts"),
			    "");
	assert_null(pod_annotation(pod, "traffic.sidecar.istio.io/excludeInboundPorts"));
	assert_null(pod_annotation(pod, "gone"));
	assert_string_equal(pod_label(pod, "empty"), "");
	assert_null(pod_label(pod, "none"));
	assert_null(pod_container(pod, "none"));
	assert_string_equal(pod_env(proxy, "A"), "2");
	assert_null(pod_env(proxy, "B")); /* its value is elsewhere */
	assert_non_null(pairs_get(&proxy->env_elsewhere, "B"));
	assert_null(pod_env(proxy, "C"));
	assert_int_equal(proxy->n_args, 2);
	assert_int_equal(proxy->run_as_user, 1337);
	assert_int_equal(proxy->run_as_group, 0); /* not the same as absent */
}

static void test_least(void **state)
{
	_cleanup_pod_ struct pod *pod = parse("{'metadata':{'namespace':'a','name':'b'}}");
	_cleanup_pod_ struct pod *nulls =
		parse("{'kind':null,'metadata':{'namespace':'a','name':'b','uid':null,'labels':"
		      "null,'annotations':null,"
		      "'ownerReferences':null,'deletionTimestamp':null},'spec':{'containers':null,'"
		      "initContainers':null,"
		      "'hostNetwork':null,'hostUsers':null,'securityContext':null},'status':{'"
		      "podIPs':null,'podIP':null}}");

	(void)state;
	assert_string_equal(pod->uid, "");
	assert_true(pod->host_users);
	assert_null(pod->phase);
	assert_int_equal(pod->n_ips, 0);
	assert_int_equal(pod->run_as_user, -1);
	assert_int_equal(nulls->n_ips, 0);
	assert_true(nulls->host_users);
	assert_false(nulls->deleting);
	assert_int_equal(nulls->containers.n, 0);
}

#define META "'metadata':{'namespace':'a','name':'b'}"

static void test_status(void **state)
{
	_cleanup_pod_ struct pod *single = parse("{" META ",'status':{'podIP':'10.0.0.1'}}");
	_cleanup_pod_ struct pod *both =
		parse("{" META ",'status':{'podIP':'10.0.0.1','podIPs':[{'ip':'fd00::1'}]}}");
	_cleanup_pod_ struct pod *none = parse("{" META ",'status':{'podIP':'','podIPs':[]}}");
	_cleanup_pod_ struct pod *done = parse("{'metadata':{'namespace':'a','name':'b','"
					       "deletionTimestamp':'2026-01-01T00:00:00Z'},"
					       "'status':{'phase':'Succeeded'}}");
	_cleanup_pod_ struct pod *three = parse(
		"{" META
		",'status':{'podIPs':[{'ip':'10.0.0.1'},{'ip':'10.0.0.2'},{'ip':'fd00::2'}]}}");
	struct weir_addr v4, v6;

	(void)state;
	assert_int_equal(single->n_ips, 1);
	assert_true(weir_addr_is_v4(&single->ips[0]));
	assert_int_equal(both->n_ips, 1);
	assert_false(weir_addr_is_v4(&both->ips[0]));
	assert_int_equal(none->n_ips, 0);
	assert_true(pod_finished(done));
	assert_true(done->deleting);
	pod_addresses(both, &v4, &v6);
	assert_true(weir_addr_is_any(&v4));
	assert_int_equal(v6.ip[0], 0xfd);
	pod_addresses(three, &v4, &v6);
	assert_int_equal(v4.ip[15], 1); /* the first of its family */
	assert_int_equal(v6.ip[15], 2);
}

static const struct {
	const char *json, *error;
} wrong[] = {
	{ "[]", "this is a list, not a Pod" },
	{ "'x'", "this is a string, not a Pod" },
	{ "7", "this is a number, not a Pod" },
	{ "{}", "metadata is missing" },
	{ "{'kind':'Deployment'," META "}", "kind is Deployment, not Pod" },
	{ "{'kind':7," META "}", "kind is a number, not a string" },
	{ "{'metadata':[]}", "metadata is a list, not an object" },
	{ "{'metadata':{'namespace':'a'}}", "metadata.name is missing" },
	{ "{'metadata':{'name':'b'}}", "metadata.namespace is missing" },
	{ "{'metadata':{'name':'b','namespace':''}}", "metadata.namespace is missing" },
	{ "{'metadata':{'name':'b','namespace':null}}", "metadata.namespace is missing" },
	{ "{'metadata':{'name':['b'],'namespace':'a'}}", "metadata.name is a list, not a string" },
	{ "{'metadata':{'name':'b/c','namespace':'a'}}",
	  "metadata.name 'b/c' holds a space, a slash or a control character" },
	{ "{'metadata':{'name':'b','namespace':'a a'}}",
	  "metadata.namespace 'a a' holds a space, a slash or a control character" },
	{ "{'metadata':{'name':'b','namespace':'a','labels':['x']}}",
	  "metadata.labels is a list, not an object" },
	{ "{'metadata':{'name':'b','namespace':'a','annotations':{'k':1}}}",
	  "metadata.annotations['k'] is a number, not a string" },
	{ "{'metadata':{'name':'b','namespace':'a','annotations':{'k':{}}}}",
	  "metadata.annotations['k'] is an object, not a string" },
	{ "{'metadata':{'name':'b','namespace':'a','ownerReferences':{}}}",
	  "metadata.ownerReferences is an object, not a list" },
	{ "{'metadata':{'name':'b','namespace':'a','ownerReferences':['x']}}",
	  "metadata.ownerReferences[0] is a string, not an object" },
	{ "{'metadata':{'name':'b','namespace':'a','ownerReferences':[{'controller':'yes'}]}}",
	  "metadata.ownerReferences[0].controller is a string, not true or false" },
	{ "{" META ",'spec':'x'}", "spec is a string, not an object" },
	{ "{" META ",'spec':{'containers':'x'}}", "spec.containers is a string, not a list" },
	{ "{" META ",'spec':{'containers':{'name':'x'}}}",
	  "spec.containers is an object, not a list" },
	{ "{" META ",'spec':{'containers':[null]}}", "spec.containers[0] is null, not an object" },
	{ "{" META ",'spec':{'containers':[{}]}}", "spec.containers[0].name is missing" },
	{ "{" META ",'spec':{'containers':[{'name':7}]}}",
	  "spec.containers[0].name is a number, not a string" },
	{ "{" META ",'spec':{'containers':[{'name':'c','args':'proxy'}]}}",
	  "spec.containers[0].args is a string, not a list" },
	{ "{" META ",'spec':{'containers':[{'name':'c','args':['a',1]}]}}",
	  "spec.containers[0].args[1] is a number, not a string" },
	{ "{" META ",'spec':{'containers':[{'name':'c','env':[{'value':'x'}]}]}}",
	  "spec.containers[0].env[0].name is missing" },
	{ "{" META ",'spec':{'containers':[{'name':'c','env':[{'name':'x','value':5}]}]}}",
	  "spec.containers[0].env[0].value is a number, not a string" },
	{ "{" META ",'spec':{'containers':[{'name':'c','env':{'x':'y'}}]}}",
	  "spec.containers[0].env is an object, not a list" },
	{ "{" META ",'spec':{'containers':[{'name':'c','ports':[80]}]}}",
	  "spec.containers[0].ports[0] is a number, not an object" },
	{ "{" META ",'spec':{'containers':[{'name':'c','ports':[{}]}]}}",
	  "spec.containers[0].ports[0].containerPort is missing" },
	{ "{" META ",'spec':{'containers':[{'name':'c','ports':[{'containerPort':'80'}]}]}}",
	  "spec.containers[0].ports[0].containerPort is a string, not an integer" },
	{ "{" META ",'spec':{'containers':[{'name':'c','ports':[{'containerPort':80.5}]}]}}",
	  "spec.containers[0].ports[0].containerPort is a number, not an integer" },
	{ "{" META ",'spec':{'containers':[{'name':'c','ports':[{'containerPort':70000}]}]}}",
	  "spec.containers[0].ports[0].containerPort is 70000, not in 1 to 65535" },
	{ "{" META ",'spec':{'initContainers':[{'name':'c','securityContext':{'runAsUser':-1}}]}}",
	  "spec.initContainers[0].securityContext.runAsUser is -1, not in 0 to 4294967294" },
	{ "{" META ",'spec':{'securityContext':{'runAsGroup':'root'}}}",
	  "spec.securityContext.runAsGroup is a string, not an integer" },
	{ "{" META ",'spec':{'hostNetwork':'true'}}",
	  "spec.hostNetwork is a string, not true or false" },
	{ "{" META ",'spec':{'hostUsers':0}}", "spec.hostUsers is a number, not true or false" },
	{ "{" META ",'status':[]}", "status is a list, not an object" },
	{ "{" META ",'status':{'podIP':'10.0.0'}}", "status.podIP: '10.0.0' is no IP address" },
	{ "{" META ",'status':{'podIP':7}}", "status.podIP is a number, not a string" },
	{ "{" META ",'status':{'podIPs':['10.0.0.1']}}", "status.podIPs[0] is no address" },
	{ "{" META ",'status':{'podIPs':[{'ip':'x'}]}}", "status.podIPs[0]: 'x' is no IP address" },
	{ "{" META ",'status':{'podIPs':{'ip':'10.0.0.1'}}}",
	  "status.podIPs is an object, not a list" },
};

static void test_wrong(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		_cleanup_free_ char *error = NULL;
		json_t *root = load(wrong[i].json);
		struct pod *pod = (void *)&pod;

		assert_int_equal(pod_parse(root, &pod, &error), -EINVAL);
		assert_string_equal(error, wrong[i].error);
		assert_ptr_equal(pod, (void *)&pod); /* written only on success */
		json_decref(root);
	}
}

/* Every value of a good pod replaced by each of these, one at a time: an error or a pod, no crash.
 */
static void replace_all(json_t *root, json_t *at)
{
	static const char *const values[] = { "null", "[]",   "{}",	   "'x'",  "''",
					      "0",    "-1",   "1e300",	   "true", "[null]",
					      "[[]]", "[{}]", "{'a':null}" };
	const char *key;
	json_t *value;
	size_t index;
	void *next;

	json_object_foreach_safe(at, next, key, value)
	{
		_cleanup_free_ char *name = xstrdup(key);

		replace_all(root, value);
		json_incref(value);
		for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
			_cleanup_free_ char *error = NULL;
			_cleanup_pod_ struct pod *pod = NULL;

			json_object_set_new(at, name, load(values[i]));
			if (pod_parse(root, &pod, &error) < 0)
				assert_non_null(error);
			else
				assert_non_null(pod);
		}
		json_object_set_new(at, name, value);
	}
	json_array_foreach (at, index, value)
		replace_all(root, value);
}

static void test_type_confusion(void **state)
{
	json_t *root = load(full);

	(void)state;
	replace_all(root, root);
	json_decref(root);
}

static void test_big_and_strange(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	_cleanup_pod_ struct pod *pod = NULL, *strange = NULL;
	_cleanup_free_ char *error = NULL;
	json_t *root;

	(void)state;
	buf_str(&b, "{" META ",'spec':{'containers':[");
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%s{'name':'c%d','env':[{'name':'X','value':'%d'}]}", i ? "," : "",
			   i, i);
	buf_str(&b, "]}}");
	pod = parse(b.data);
	assert_int_equal(pod->containers.n, 10000);
	assert_string_equal(pod_env(pod_container(pod, "c9999"), "X"), "9999");

	strange = parse("{'metadata':{'namespace':'\xc3\xa4','name':'\xe6\x97\xa5\xe6\x9c\xac',"
			"'annotations':{'\xf0\x9f\x98\x80':' \\u0001 \\n'}}}");
	assert_string_equal(strange->namespace, "\xc3\xa4");
	assert_string_equal(pod_annotation(strange, "\xf0\x9f\x98\x80"), " \x01 \n");

	b.len = 0;
	buf_str(&b, "{'metadata':{'namespace':'a','name':'");
	for (int i = 0; i < 254; i++)
		buf_str(&b, "x");
	buf_str(&b, "'}}");
	root = load(b.data);
	assert_int_equal(pod_parse(root, &pod, &error), -EINVAL);
	assert_string_equal(error, "metadata.name has 254 bytes, more than 253");
	json_decref(root);
}

static void test_injection(void **state)
{
	struct pod_pair enabled[] = { { (char *)"istio-injection", (char *)"enabled" } };
	struct pod_pair disabled[] = { { (char *)"istio-injection", (char *)"disabled" },
				       { (char *)"istio.io/rev", (char *)"r1" } };
	struct pod_pairs on = { enabled, 1 }, off = { disabled, 2 }, rev = { disabled + 1, 1 };
	struct pod_pairs none = { 0 };
	struct pod_pair inject = { (char *)"linkerd.io/inject", (char *)"enabled" };
	struct pod_pair webhooks = { (char *)"config.linkerd.io/admission-webhooks",
				     (char *)"disabled" };
	struct pod_pairs linkerd = { &inject, 1 }, no_webhooks = { &webhooks, 1 };
	_cleanup_pod_ struct pod *issuer =
		parse("{'metadata':{'namespace':'cert-manager','name':'b'}}");
	_cleanup_pod_ struct pod *plain = parse("{" META "}");
	_cleanup_pod_ struct pod *out = parse(
		"{'metadata':{'namespace':'a','name':'b','labels':{'sidecar.istio.io/"
		"inject':'false'},"
		"'annotations':{'sidecar.istio.io/inject':'true','linkerd.io/inject':'enabled'}}}");
	_cleanup_pod_ struct pod *labelled = parse("{'metadata':{'namespace':'a','name':'b','"
						   "labels':{'sidecar.istio.io/inject':'true'}}}");
	_cleanup_pod_ struct pod *annotated =
		parse("{'metadata':{'namespace':'a','name':'b','annotations':{'sidecar.istio.io/"
		      "inject':'true'}}}");
	_cleanup_pod_ struct pod *revision =
		parse("{'metadata':{'namespace':'a','name':'b','labels':{'istio.io/rev':'r1'}}}");
	_cleanup_pod_ struct pod *system =
		parse("{'metadata':{'namespace':'kube-public','name':'b'}}");
	_cleanup_pod_ struct pod *host =
		parse("{'metadata':{'namespace':'a','name':'b'},'spec':{'hostNetwork':true}}");

	(void)state;
	assert_false(pod_asks_for_istio(plain, NULL));
	assert_true(pod_asks_for_istio(plain, &on));
	assert_false(pod_asks_for_istio(plain, &off)); /* istio-injection beats istio.io/rev */
	assert_true(pod_asks_for_istio(plain, &rev));
	assert_false(pod_asks_for_istio(out, &on));
	/* without labels of the namespace the pod's own label counts, and the old annotation does
	 * not */
	assert_true(pod_asks_for_istio(labelled, &none));
	assert_false(pod_asks_for_istio(labelled, &off));
	assert_false(pod_asks_for_istio(annotated, &none));
	assert_true(pod_asks_for_istio(annotated, NULL)); /* nothing is known of the namespace */
	assert_true(pod_asks_for_istio(revision, &none));
	assert_false(pod_asks_for_istio(system, &on));
	assert_false(pod_asks_for_istio(host, &on));
	assert_string_equal(pod_istio_inject(out), "false");
	assert_true(pod_asks_for_linkerd(out, NULL, NULL));
	assert_false(pod_asks_for_linkerd(plain, &on, NULL));
	assert_true(pod_asks_for_linkerd(plain, &linkerd, &on));
	assert_false(pod_asks_for_linkerd(plain, &linkerd, &no_webhooks));
	assert_false(pod_asks_for_linkerd(out, NULL, &no_webhooks));
	assert_false(pod_asks_for_linkerd(issuer, &linkerd, &on));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_least),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_type_confusion),
		cmocka_unit_test(test_big_and_strange),
		cmocka_unit_test(test_injection),
	};

	return cmocka_run_group_tests_name("pod", tests, NULL, NULL);
}
