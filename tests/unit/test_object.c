/* SPDX-License-Identifier: Apache-2.0 */
/* Files and API answers: single objects, Lists, and what is neither. Inline JSON has ' for ". */
#include "agent/object.h"
#include "base/buf.h"
#include "base/inet.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define POD(name) "{'kind':'Pod','metadata':{'namespace':'shop','name':'" name "'}}"

static int parse(const char *text, struct objects *ret, char **ret_error)
{
	_cleanup_free_ char *json = xstrdup(text);

	for (char *c = json; *c; c++)
		if (*c == '\'')
			*c = '"';
	return objects_parse(json, strlen(json), ret, ret_error);
}

static struct objects good(const char *text)
{
	struct objects o = { 0 };
	char *error;

	if (parse(text, &o, &error) < 0)
		fail_msg("%s", error);
	return o;
}

static void expect_addr(const struct weir_addr *addr, const char *expected)
{
	char text[INET_TEXT];

	assert_string_equal(inet_format(addr->ip, text), expected);
}

static void test_single(void **state)
{
	_cleanup_objects_ struct objects o = good(POD("a"));

	(void)state;
	assert_int_equal(o.n_pods, 1);
	assert_int_equal(o.n_errors, 0);
	assert_string_equal(o.pods[0]->name, "a");
	assert_null(o.resource_version);
}

static void test_service(void **state)
{
	_cleanup_objects_ struct objects o = good(
		"{'kind':'Service','metadata':{'namespace':'shop','name':'cart'},'spec':{'type':'"
		"LoadBalancer',"
		"'clusterIP':'10.96.0.1','clusterIPs':['10.96.0.1','fd00::1'],'externalIPs':['192."
		"0.2.1'],"
		"'selector':{'app':'cart'},'ports':[{'port':80,'name':'http','nodePort':30080},"
		"{'port':53,'protocol':'UDP'}]},"
		"'status':{'loadBalancer':{'ingress':[{'hostname':'x.example'},{'ip':'192.0.2.2'}]}"
		"}}");
	const struct service *s = o.services[0];

	(void)state;
	assert_int_equal(o.n_services, 1);
	assert_string_equal(s->type, "LoadBalancer");
	assert_int_equal(s->n_cluster_ips, 2);
	expect_addr(&s->cluster_ips[1], "fd00::1");
	assert_int_equal(s->n_external_ips, 2);
	expect_addr(&s->external_ips[0], "192.0.2.1");
	expect_addr(&s->external_ips[1], "192.0.2.2");
	assert_string_equal(pairs_get(&s->selector, "app"), "cart");
	assert_int_equal(s->n_ports, 2);
	assert_int_equal(s->ports[0].node_port, 30080);
	assert_string_equal(s->ports[0].name, "http");
	assert_int_equal(s->ports[0].protocol, IPPROTO_TCP);
	assert_int_equal(s->ports[1].protocol, IPPROTO_UDP);
	assert_int_equal(s->ports[1].node_port, 0);
}

static void test_service_forms(void **state)
{
#define SERVICE(spec) "{'kind':'Service','metadata':{'namespace':'a','name':'b'},'spec':" spec "}"
	_cleanup_objects_ struct objects headless =
		good(SERVICE("{'clusterIP':'None','clusterIPs':['None']}"));
	_cleanup_objects_ struct objects old = good(SERVICE("{'clusterIP':'10.0.0.1'}"));
	_cleanup_objects_ struct objects external =
		good(SERVICE("{'type':'ExternalName','externalName':'x'}"));
	_cleanup_objects_ struct objects bare =
		good("{'kind':'Service','metadata':{'namespace':'a','name':'b'}}");

	(void)state;
	assert_int_equal(headless.services[0]->n_cluster_ips, 0);
	assert_int_equal(old.services[0]->n_cluster_ips, 1);
	assert_int_equal(external.services[0]->n_cluster_ips, 0);
	assert_string_equal(bare.services[0]->type, "ClusterIP");
	assert_int_equal(bare.services[0]->selector.n, 0);
}

static void test_slice_and_namespace(void **state)
{
	_cleanup_objects_ struct objects o =
		good("{'kind':'List','items':["
		     "{'kind':'EndpointSlice','metadata':{'namespace':'shop','name':'cart-x',"
		     " 'labels':{'kubernetes.io/service-name':'cart'}},'addressType':'IPv4',"
		     " 'endpoints':[{'addresses':['10.0.0.1','10.0.0.2']},{'addresses':['10.0.0.3']"
		     "},{}]},"
		     "{'kind':'EndpointSlice','metadata':{'namespace':'shop','name':'f'},'"
		     "addressType':'FQDN',"
		     " 'endpoints':[{'addresses':['x.example']}]},"
		     "{'kind':'Namespace','metadata':{'name':'shop','labels':{'istio-injection':'"
		     "enabled'},"
		     " 'annotations':{'config.linkerd.io/skip-outbound-ports':'25'}}}]}");

	(void)state;
	assert_int_equal(o.n_slices, 2);
	assert_string_equal(o.slices[0]->service, "cart");
	assert_int_equal(o.slices[0]->n_endpoints, 3);
	expect_addr(&o.slices[0]->endpoints[2].addr, "10.0.0.3");
	assert_null(o.slices[1]->service);
	assert_int_equal(o.slices[1]->n_endpoints, 0);
	assert_int_equal(o.n_namespaces, 1);
	assert_string_equal(pairs_get(&o.namespaces[0]->labels, "istio-injection"), "enabled");
	assert_string_equal(
		pairs_get(&o.namespaces[0]->annotations, "config.linkerd.io/skip-outbound-ports"),
		"25");
}

/* The API's own lists name the kind once, for all items. */
static void test_typed_list(void **state)
{
	_cleanup_objects_ struct objects o = good("{'kind':'PodList','apiVersion':'v1','metadata':{"
						  "'resourceVersion':'4711'},'items':["
						  "{'metadata':{'namespace':'a','name':'x'}},{'"
						  "metadata':{'namespace':'a','name':'y'}}]}");
	_cleanup_objects_ struct objects empty = good("{'kind':'PodList','items':null}");

	(void)state;
	assert_int_equal(o.n_pods, 2);
	assert_string_equal(o.resource_version, "4711");
	assert_int_equal(empty.n_pods, 0);
}

static void test_one_bad_of_many(void **state)
{
	_cleanup_objects_ struct objects o = good("{'kind':'List','items':[" POD(
		"a") ","
		     "{'kind':'Pod','metadata':{'namespace':'shop','name':'cart'},'spec':{'"
		     "containers':'x'}},"
		     "{'kind':'Pod','metadata':{'name':'lost'}},"
		     "7,null,{},{'kind':'Deployment','metadata':{'namespace':'shop','name':'d'}}"
		     "," POD("b") "]}");
	static const char *const errors[] = {
		"items[1] (Pod shop/cart): spec.containers is a string, not a list",
		"items[2] (Pod lost): metadata.namespace is missing",
		"items[3]: this is a number, not a Kubernetes object",
		"items[4]: this is null, not a Kubernetes object",
		"items[5]: kind is missing",
		("items[6] (Deployment shop/d): kind is Deployment, not Pod, Service, "
		 "EndpointSlice, Namespace, Node or List"),
	};

	(void)state;
	assert_int_equal(o.n_pods, 2);
	assert_string_equal(o.pods[1]->name, "b");
	assert_int_equal(o.n_errors, ARRAY_SIZE(errors));
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		assert_string_equal(o.errors[i], errors[i]);
	assert_string_equal(o.failed[0], "shop/cart");
	assert_null(o.failed[1]);
	assert_null(o.failed[2]);
}

static void test_useless(void **state)
{
	static const struct {
		const char *text, *error;
	} cases[] = {
		{ "", "not JSON: '[' or '{' expected near end of file, line 1 column 0" },
		{ "{\n 'kind': 'Pod',\n 'a' 7 }",
		  "not JSON: ':' expected near '7', line 3 column 6" },
		{ "{'kind':'Pod'} x", "not JSON: end of file expected near 'x', line 1 column 16" },
		{ "apiVersion: v1\nkind: Pod\n",
		  "not JSON: invalid token near 'apiVersion', line 1 column 10" },
		{ "[]", "this is a list, not a Kubernetes object" },
		{ "'Pod'", "this is a string, not a Kubernetes object" },
		{ "null", "this is null, not a Kubernetes object" },
		{ "{}", "kind is missing" },
		{ "{'kind':7}", "kind is missing" },
		{ "{'kind':'Deployment'}",
		  "kind is Deployment, not Pod, Service, EndpointSlice, Namespace, Node or List" },
		{ "{'kind':'Pod'}", "metadata is missing" },
		{ "{'kind':'Pod','metadata':{'name':'a'}}", "metadata.namespace is missing" },
		{ "{'kind':'List','items':{}}", "items is an object, not a list" },
		{ "{'kind':'List','items':[{'kind':'Pod'}]}", "items[0]: metadata is missing" },
		{ "{'kind':'List','items':[{},7]}",
		  "items[0]: kind is missing, and no other item is right" },
		{ "{'kind':'Service','metadata':{'namespace':'a','name':'b'},'spec':{'clusterIPs':["
		  "'x']}}",
		  "spec.clusterIPs: 'x' is no IP address" },
		{ "{'kind':'Service','metadata':{'namespace':'a','name':'b'},'spec':{'clusterIPs':["
		  "1]}}",
		  "spec.clusterIPs[0] is a number, not a string" },
		{ "{'kind':'Service','metadata':{'namespace':'a','name':'b'},'spec':{'ports':[{}]}"
		  "}",
		  "spec.ports[0].port is missing" },
		{ "{'kind':'Service','metadata':{'namespace':'a','name':'b'},'spec':{'ports':[{'"
		  "port':'http'}]}}",
		  "spec.ports[0].port is a string, not an integer" },
		{ "{'kind':'Service','metadata':{'namespace':'a','name':'b'},'spec':{'ports':['80']"
		  "}}",
		  "spec.ports[0] is a string, not an object" },
		{ "{'kind':'EndpointSlice','metadata':{'namespace':'a','name':'b'},'endpoints':['x'"
		  "]}",
		  "endpoints[0] is a string, not an object" },
		{ "{'kind':'EndpointSlice','metadata':{'namespace':'a','name':'b'},'endpoints':[{'"
		  "addresses':['x']}]}",
		  "endpoints[0].addresses[0]: 'x' is no IP address" },
		{ "{'kind':'Namespace','metadata':{'labels':{}}}", "metadata.name is missing" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_objects_ struct objects o = { 0 };
		_cleanup_free_ char *error = NULL;

		assert_int_equal(parse(cases[i].text, &o, &error), -EINVAL);
		if (strncmp(cases[i].error, "not JSON: '['", 13)) /* jansson's words vary here */
			assert_string_equal(error, cases[i].error);
		assert_int_equal(o.n_errors, 0); /* written only on success */
	}
}

/* Bytes, cut off anywhere, and a NUL in the middle. */
static void test_cut_off(void **state)
{
	static const char text[] =
		"{\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"\xc3\xa4\",\"name\":\"b\"}}";

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		_cleanup_objects_ struct objects o = { 0 };
		_cleanup_free_ char *error = NULL, *copy = xcalloc(1, len ? len : 1);

		memcpy(copy, text, len); /* no terminator: the sanitizer sees reads beyond */
		assert_int_equal(objects_parse(copy, len, &o, &error), -EINVAL);
		assert_memory_equal(error, "not JSON: ", 10);
		free(TAKE_PTR(error));
		assert_int_equal(objects_parse("{\"kind\":\"Po\0d\"}", 15, &o, &error), -EINVAL);
		free(TAKE_PTR(error));
		assert_int_equal(objects_parse("{\"kind\":\"\xff\"}", 12, &o, &error), -EINVAL);
	}
}

static void test_many(void **state)
{
	_cleanup_objects_ struct objects o = { 0 };
	_cleanup_buf_ struct buf b = { 0 };
	char *error;

	(void)state;
	buf_str(&b, "{\"kind\":\"List\",\"items\":[");
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%s{\"kind\":\"Pod\",\"metadata\":{%s\"name\":\"p%d\"}}",
			   i ? "," : "", i % 10 ? "\"namespace\":\"a\"," : "", i);
	buf_str(&b, "]}");
	assert_int_equal(objects_parse(b.data, b.len, &o, &error), 0);
	assert_int_equal(o.n_pods, 9000);
	assert_int_equal(o.n_errors, 1000);
}

static void test_adding(void **state)
{
	_cleanup_objects_ struct objects o = good(POD("a"));
	json_t *more = json_pack("{s:s, s:{s:s, s:s}}", "kind", "Pod", "metadata", "namespace",
				 "shop", "name", "b");
	char *error = NULL;

	(void)state;
	assert_int_equal(objects_add(more, &o, &error), 0);
	assert_int_equal(o.n_pods, 2);
	json_decref(more);
	assert_int_equal(objects_add(NULL, &o, &error), -EINVAL);
	free(error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_single),	      cmocka_unit_test(test_service),
		cmocka_unit_test(test_service_forms), cmocka_unit_test(test_slice_and_namespace),
		cmocka_unit_test(test_typed_list),    cmocka_unit_test(test_one_bad_of_many),
		cmocka_unit_test(test_useless),	      cmocka_unit_test(test_cut_off),
		cmocka_unit_test(test_many),	      cmocka_unit_test(test_adding),
	};

	return cmocka_run_group_tests_name("object", tests, NULL, NULL);
}
