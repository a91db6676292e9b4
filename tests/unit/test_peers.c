/* SPDX-License-Identifier: Apache-2.0 */
/* Who is behind an address: clusters in a few lines each, and what a connection to them is called.
 */
#include "agent/peers.h"
#include "base/buf.h"
#include "base/inet.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

/* Names get ids in the order in which they are asked for. */
struct book {
	char *names[16384];
	size_t n;
};

static uint32_t book_id(void *ctx, const char *kind, const char *namespace, const char *name)
{
	_cleanup_free_ char *key = xasprintf("%s %s/%s", kind, namespace, name);
	struct book *b = ctx;

	for (size_t i = 0; i < b->n; i++)
		if (!strcmp(b->names[i], key))
			return WEIR_ID_FIRST + (uint32_t)i;
	assert_true(b->n < ARRAY_SIZE(b->names));
	b->names[b->n++] = xstrdup(key);
	return WEIR_ID_FIRST + (uint32_t)b->n - 1;
}

static void book_free(struct book *b)
{
	for (size_t i = 0; i < b->n; i++)
		free(b->names[i]);
}

static const char *book_name(const struct book *b, uint32_t id)
{
	static const char *const fixed[] = { "none", "unknown", "external", "host", "several" };

	return id >= WEIR_ID_FIRST ? b->names[id - WEIR_ID_FIRST] : fixed[id];
}

static void build(const char *items, const struct peers_naming *naming, struct peers *ret)
{
	_cleanup_free_ char *text = xasprintf("{\"kind\":\"List\",\"items\":[%s]}", items);
	struct source_file file = { .good = true };
	struct source source = { .files = &file };
	struct weir_addr own;
	char *error = NULL;

	if (objects_parse(text, strlen(text), &file.objects, &error) < 0 || file.objects.n_errors)
		fail_msg("%s", error ?: file.objects.errors[0]);
	inet_parse("192.168.9.9", own.ip);
	peers_build(&source, naming, &own, 1, ret);
	objects_free(&file.objects);
}

static const struct weir_peer *find(const struct peers *p, const struct weir_peer_key *key)
{
	for (size_t i = 0; i < p->n; i++)
		if (!peers_compare_key(&p->rows[i].key, key))
			return &p->rows[i].value;
	return NULL;
}

/* As account_find_peer() of the BPF programs asks. to: "ADDRESS:PORT[/udp]" */
static const struct weir_peer *dial(const struct peers *p, const char *to)
{
	struct weir_peer_key key = { .port = 0 }, addr = { .port = 0 }, node_port = { .port = 0 };
	_cleanup_free_ char *endpoint = strndup(to, strcspn(to, "/"));
	const struct weir_peer *peer, *by_port;

	assert_int_equal(inet_parse_endpoint(endpoint, key.addr.ip, &key.port), 0);
	if (strlen(endpoint) < strlen(to))
		key.protocol = IPPROTO_UDP;
	addr.addr = key.addr;
	node_port.port = key.port;
	node_port.protocol = key.protocol;
	peer = find(p, &addr);
	by_port = find(p, &key);
	if (peer && peer->alone)
		assert_null(by_port);
	if (!by_port && peer && peer->workload == WEIR_ID_HOST && !peer->service)
		by_port = find(p, &node_port);
	return by_port ?: peer;
}

/* "DIALLED WORKLOAD [SERVICE]" for each line; "-" where nothing is known. */
static void expect(const char *items, const char *const *lines, size_t n)
{
	struct book *book = xcalloc(1, sizeof(*book));
	const struct peers_naming naming = { book_id, book, true };
	_cleanup_peers_ struct peers peers;

	build(items, &naming, &peers);
	for (size_t i = 0; i < n; i++) {
		_cleanup_free_ char *to = strndup(lines[i], strcspn(lines[i], " "));
		const struct weir_peer *peer = dial(&peers, to);
		_cleanup_free_ char *got =
			peer ? xasprintf("%s %s%s%s", to, book_name(book, peer->workload),
					 peer->service ? " = " : "",
					 peer->service ? book_name(book, peer->service) : "")
			     : xasprintf("%s -", to);

		assert_string_equal(got, lines[i]);
	}
	book_free(book);
	free(book);
}

#define EXPECT(items, ...)                                           \
	({                                                           \
		static const char *const lines_[] = { __VA_ARGS__ }; \
		expect(items, lines_, ARRAY_SIZE(lines_));           \
	})

#define POD_(name, ip, status, meta, spec)                                                      \
	"{\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"d\",\"name\":\"" name                  \
	"\",\"generateName\":\"x-\",\"labels\":{\"app\":\"" name "\"}" meta "},\"spec\":{" spec \
	"},\"status\":{\"podIP\":\"" ip "\",\"phase\":\"" status "\"}}"
#define POD(name, ip) POD_(name, ip, "Running", "", "")
#define OWNED(name, ip, owner)                                                   \
	POD_(name, ip, "Running",                                                \
	     ",\"ownerReferences\":[{\"kind\":\"StatefulSet\",\"name\":\"" owner \
	     "\",\"controller\":true}]",                                         \
	     "")
#define SERVICE(name, spec)                                                               \
	"{\"kind\":\"Service\",\"metadata\":{\"namespace\":\"d\",\"name\":\"" name "\"}," \
	"\"spec\":{" spec "}}"
#define SLICE(name, service, ends, ports)                                                         \
	"{\"kind\":\"EndpointSlice\",\"addressType\":\"IPv4\",\"metadata\":{\"namespace\":\"d\"," \
	"\"name\":\"" name "\",\"labels\":{\"kubernetes.io/service-name\":\"" service             \
	"\"}},\"endpoints\":[" ends "],\"ports\":[" ports "]}"
#define END_(ip) "{\"addresses\":[\"" ip "\"]}"
#define END_OF(ip, pod) \
	"{\"addresses\":[\"" ip "\"],\"targetRef\":{\"kind\":\"Pod\",\"name\":\"" pod "\"}}"
#define PORT(n) "{\"port\":" #n "}"

static void test_pods_and_cluster_ips(void **state)
{
	(void)state;
	EXPECT(POD("a", "10.0.0.1") "," OWNED("b-0", "10.0.0.2", "b") "," OWNED("b-1", "10.0.0.3", "b") "," SERVICE(
		       "one",
		       "\"clusterIPs\":[\"10.96.0.1\",\"fd00::1\"],\"ports\":[{\"port\":80}"
		       "]") "," SLICE("one-x", "one",
				      END_OF("10.0.0.2", "b-0") "," END_OF("10.0.0.3", "b-1"),
				      PORT(8080)) "," SERVICE("two",
							      "\"clusterIP\":\"10.96.0.2\","
							      "\"ports\":[{\"port\":"
							      "80}]") "," SLICE("two-x", "two",
										END_OF("10."
										       "0.0."
										       "1",
										       "a"),
										PORT(8080)) "," SLICE("two-y",
												      "two",
												      END_OF("10."
													     "0.0."
													     "2",
													     "b-"
													     "0"),
												      PORT(8080)) "," SERVICE("none",
															      "\"clusterIP\":\"10.96.0.3\""),
	       "10.0.0.1:80 Pod d/a", "10.0.0.2:80 StatefulSet d/b",
	       "10.96.0.1:80 StatefulSet d/b = Service d/one",
	       "10.96.0.1:99 StatefulSet d/b = Service d/one",
	       "[fd00::1]:80 StatefulSet d/b = Service d/one",
	       "10.96.0.2:80 several = Service d/two", "10.96.0.3:80 unknown = Service d/none",
	       "10.96.0.4:80 -", "192.168.9.9:22 host");
}

static void test_selectors_stand_in_for_slices(void **state)
{
	(void)state;
	EXPECT(POD("a", "10.0.0.1") "," POD("b", "10.0.0.2") "," SERVICE(
		       "a", "\"clusterIP\":\"10.96.0.1\",\"selector\":{\"app\":"
			    "\"a\"}") "," SERVICE("h", "\"clusterIP\":\"None\","
						       "\"selector\":{\"app\":\"b\"},"
						       "\"ports\":[{\"port\":5432}]"),
	       "10.96.0.1:80 Pod d/a = Service d/a", "10.0.0.2:5432 Pod d/b = Service d/h",
	       "10.0.0.2:80 Pod d/b");
}

/* By the ports of the pods: another port of a pod is not the Service's. */
static void test_headless(void **state)
{
	(void)state;
	EXPECT(POD("a", "10.0.0.1") "," POD("b", "10.0.0.2") "," SERVICE(
		       "h", "\"clusterIP\":\"None\",\"ports\":[{\"port\":"
			    "80}]") "," SLICE("h-x", "h",
					      END_OF("10.0.0.1", "a") "," END_OF(
						      "10.0.0.2", "b") "," END_("203.0."
										"113."
										"9"),
					      PORT(8080)),
	       "10.0.0.1:8080 Pod d/a = Service d/h", "10.0.0.2:8080 Pod d/b = Service d/h",
	       "10.0.0.1:80 Pod d/a", "203.0.113.9:8080 external = Service d/h",
	       "203.0.113.9:80 -");
}

static void test_external_addresses_and_node_ports(void **state)
{
	(void)state;
	EXPECT("{\"kind\":\"Node\",\"metadata\":{\"name\":\"n\"},\"status\":{\"addresses\":["
	       "{\"type\":\"InternalIP\",\"address\":\"192.168.1.1\"},"
	       "{\"type\":\"Hostname\",\"address\":\"n\"},"
	       "{\"type\":\"ExternalIP\",\"address\":\"198.51.100.1\"}]}}," POD(
		       "a",
		       "10.0.0.1") "," SERVICE("lb",
					       "\"type\":\"LoadBalancer\",\"clusterIP\":"
					       "\"10.96.0.1\","
					       "\"externalIPs\":[\"192.168.1.1\",\"203.0."
					       "113.1\"],"
					       "\"ports\":[{\"port\":80,\"nodePort\":30080}"
					       "]") "," SERVICE("udp",
								"\"clusterIP\":\"10."
								"96.0.2\","
								"\"externalIPs\":["
								"\"203.0.113.1\"],"
								"\"ports\":[{"
								"\"port\":80,"
								"\"protocol\":"
								"\"UDP\"},{\"port\":"
								"53}]") "," SLICE("lb"
										  "-"
										  "x",
										  "l"
										  "b",
										  END_OF("10.0.0.1",
											 "a"),
										  PORT(8080)),
	       "192.168.1.1:80 Pod d/a = Service d/lb", "203.0.113.1:80 Pod d/a = Service d/lb",
	       "203.0.113.1:53 unknown = Service d/udp", "203.0.113.1:443 -",
	       "192.168.1.1:30080 Pod d/a = Service d/lb",
	       "198.51.100.1:30080 Pod d/a = Service d/lb",
	       "192.168.9.9:30080 Pod d/a = Service d/lb", "192.168.1.1:22 host",
	       "198.51.100.1:22 host", "10.0.0.1:30080 Pod d/a");
}

/* One address and port, one NodePort, one pod's port: of TCP it is one Service's, of UDP another's.
 */
static void test_protocols(void **state)
{
	(void)state;
#define NAMED_PORT(port, node_port, protocol) \
	"\"ports\":[{\"port\":" port ",\"nodePort\":" node_port ",\"protocol\":\"" protocol "\"}]"
#define LISTENS(port, protocol) "{\"port\":" port ",\"protocol\":\"" protocol "\"}"
#define OUTSIDE			"\"externalIPs\":[\"203.0.113.1\"],"
	EXPECT(
		POD("a", "10.0.0.1") "," POD("b", "10.0.0.2") "," SERVICE(
			"t", "\"clusterIP\":\"10.96.0.1\"," OUTSIDE NAMED_PORT("53", "30053",
									       "TCP")) "," SERVICE("u", "\"clusterIP\":\"10.96.0.2\"," OUTSIDE NAMED_PORT("53", "30053", "UDP")) "," SERVICE("s", "\"clusterIP\":\"10.96.0.3\"," OUTSIDE NAMED_PORT("54", "30054", "SCTP")) "," SERVICE("ht", "\"clusterIP\":\"None\"") "," SERVICE("hu",
																																								    "\"clusterIP\":\"None\"") "," SLICE("t",
																																													"t", END_OF("10.0.0.1", "a"), LISTENS("5353", "TCP")) "," SLICE("u",
																																																					"u",
																																																					END_OF("10.0.0.2",
																																																					       "b"),
																																																					LISTENS("5353", "UDP")) "," SLICE("ht", "ht", END_OF("10.0.0.1", "a"), LISTENS("5353", "TCP")) "," SLICE("hu", "hu", END_OF("10.0.0.1", "a"), LISTENS("5353", "UDP")),
		"203.0.113.1:53 Pod d/a = Service d/t", "203.0.113.1:53/udp Pod d/b = Service d/u",
		"203.0.113.1:54 -", "203.0.113.1:54/udp -",
		"192.168.9.9:30053 Pod d/a = Service d/t",
		"192.168.9.9:30053/udp Pod d/b = Service d/u", "192.168.9.9:30054 host",
		"10.0.0.1:5353 Pod d/a = Service d/ht", "10.0.0.1:5353/udp Pod d/a = Service d/hu",
		"10.0.0.2:5353/udp Pod d/b", "10.96.0.1:53/udp Pod d/a = Service d/t");
}

static void test_the_host(void **state)
{
	(void)state;
	EXPECT(POD_("h", "192.168.1.1", "Running", "", "\"hostNetwork\":true") "," SERVICE(
		       "exporter",
		       "\"clusterIP\":\"10.96.0.1\"") "," SLICE("e", "exporter",
								END_OF("192.168.1.1", "h"),
								PORT(9100)) "," SERVICE("api",
											"\"cluster"
											"IP\":"
											"\"10.96."
											"0.2\"") "," SLICE("a",
													   "api",
													   END_("192.168.1.1"),
													   PORT(6443)) "," SERVICE("out",
																   "\"clusterIP\":\"10.96.0.3\"") "," SLICE("o",
																					    "out",
																					    END_("203.0.113.7"),
																					    PORT(5432)) "," SERVICE("dns",
																								    "\"type\":\"ExternalName\",\"externalName\":\"example.org\","
																								    "\"externalIPs\":[\"203.0.113.8\"],\"ports\":[{\"port\":80}]"),
	       "192.168.1.1:80 host", "10.96.0.1:80 Pod d/h = Service d/exporter",
	       "10.96.0.2:80 host = Service d/api", "10.96.0.3:80 external = Service d/out",
	       "203.0.113.8:80 -");
}

/* An address that goes from one pod to the next, whatever the order of the objects. */
static void test_an_address_that_is_used_again(void **state)
{
	(void)state;
#define OLD(meta, phase) POD_("old", "10.0.0.1", phase, meta, "")
#define NEW \
	POD_("new", "10.0.0.1", "Running", ",\"creationTimestamp\":\"2026-02-02T00:00:00Z\"", "")
#define DELETING                                                                                 \
	",\"deletionTimestamp\":\"2026-01-02T00:00:00Z\",\"creationTimestamp\":\"2027-01-01T00:" \
	"00:00Z\""
#define EARLIER ",\"creationTimestamp\":\"2026-01-01T00:00:00Z\""
	EXPECT(OLD("", "Succeeded") "," NEW, "10.0.0.1:80 Pod d/new");
	EXPECT(NEW "," OLD("", "Failed"), "10.0.0.1:80 Pod d/new");
	EXPECT(OLD(DELETING, "Running") "," NEW, "10.0.0.1:80 Pod d/new");
	EXPECT(NEW "," OLD(DELETING, "Running"), "10.0.0.1:80 Pod d/new");
	EXPECT(OLD(EARLIER, "Running") "," NEW, "10.0.0.1:80 Pod d/new");
	EXPECT(NEW "," OLD(EARLIER, "Running"), "10.0.0.1:80 Pod d/new");
	EXPECT(OLD("", "Pending") "," NEW, "10.0.0.1:80 Pod d/new");
	EXPECT(OLD(DELETING, "Running"), "10.0.0.1:80 Pod d/old");
	EXPECT(OLD("", "Succeeded"), "10.0.0.1:80 -");
	/* the slice still names the old one */
	EXPECT(NEW "," SERVICE("h", "\"clusterIP\":\"None\"") "," SLICE(
		       "s", "h", END_OF("10.0.0.1", "old"), PORT(80)),
	       "10.0.0.1:80 Pod d/new");
	EXPECT(NEW "," SERVICE("s", "\"clusterIP\":\"10.96.0.1\"") "," SLICE(
		       "s", "s", END_OF("10.0.0.1", "old"), PORT(80)),
	       "10.96.0.1:80 unknown = Service d/s");
}

static uint32_t served(const struct peers *p, struct book *book, const char *workload,
		       uint32_t port)
{
	const struct peer_served key = { .workload = book_id(book, "Pod", "d", workload),
					 .port = port };

	for (size_t i = 0; i < p->n_served; i++)
		if (!peers_compare_served(&p->served[i], &key))
			return p->served[i].service;
	return WEIR_ID_NONE;
}

/* Of several Services the first by name, and one that has an address before one that has none. */
static void test_served(void **state)
{
	struct book *book = xcalloc(1, sizeof(*book));
	const struct peers_naming naming = { book_id, book, true };
	_cleanup_peers_ struct peers peers;
	uint32_t b;

	(void)state;
	build(POD("p", "10.0.0.1") "," SERVICE("a", "\"clusterIP\":\"None\"") "," SLICE("a", "a", END_OF("10.0.0.1", "p"), PORT(80)) "," SERVICE("c", "\"clusterIP\":\"10.96.0.3\"") "," SLICE(
		      "c", "c", END_OF("10.0.0.1", "p"),
		      PORT(80)) "," SERVICE("b",
					    "\"clusterIP\":\"10.96.0.2\"") "," SLICE("b", "b",
										     END_OF("10.0."
											    "0.1",
											    "p") "," END_("10.0.0.9"),
										     PORT(80)) "," SERVICE("e",
													   "\"clusterIP\":\"None\"") "," SLICE("e",
																	       "e",
																	       END_OF("10.0.0.1",
																		      "p"),
																	       PORT(81)),
	      &naming, &peers);
	b = book_id(book, "Service", "d", "b");
	assert_int_equal(served(&peers, book, "p", 80), b);
	assert_int_equal(served(&peers, book, "p", 81), book_id(book, "Service", "d", "e"));
	assert_int_equal(served(&peers, book, "p", 82), WEIR_ID_NONE);
	assert_int_equal(peers.n_served, 2);
	assert_int_equal(peers.n_services, 4);
	book_free(book);
	free(book);
}

static void expect_port(const struct peers *p, uint16_t port, bool named)
{
	assert_int_equal(p->ports[port / 64] >> (port % 64) & 1, named);
}

static void test_named_ports(void **state)
{
	struct book *book = xcalloc(1, sizeof(*book));
	const struct peers_naming naming = { book_id, book, true };
	_cleanup_peers_ struct peers peers;

	(void)state;
	build(POD_("a", "10.0.0.1", "Running", "",
		   "\"containers\":[{\"name\":\"a\",\"ports\":[{\"containerPort\":40001}]}],"
		   "\"initContainers\":[{\"name\":\"p\",\"ports\":[{\"containerPort\":40002}]}"
		   "]") "," POD_("b", "10.0.0.2", "Failed", "",
				 "\"containers\":[{\"name\":\"a\",\"ports\":[{"
				 "\"containerPort\":40003}]}]") "," SERVICE("s",
									    "\"clusterIP\":"
									    "\"10.96.0.1\","
									    "\"ports\":[{"
									    "\"port\":40004,"
									    "\"nodePort\":"
									    "40005}]") "," SLICE("s"
												 "-"
												 "x",
												 "s",
												 END_("10.0.0.1"),
												 PORT(40006)),
	      &naming, &peers);
	expect_port(&peers, 40001, true);
	expect_port(&peers, 40002, true);
	expect_port(&peers, 40003, false);
	expect_port(&peers, 40004, true);
	expect_port(&peers, 40005, true);
	expect_port(&peers, 40006, true);
	expect_port(&peers, 40000, false);
	book_free(book);
	free(book);
}

/* A large cluster is no matter of more than lists in order. */
static void test_five_thousand_pods_and_two_thousand_services(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct book *book = xcalloc(1, sizeof(*book));
	const struct peers_naming naming = { book_id, book, true };
	_cleanup_peers_ struct peers peers;
	clock_t start;

	(void)state;
	for (int i = 0; i < 5000; i++)
		buf_printf(
			&b,
			"%s{\"kind\":\"Pod\",\"metadata\":{\"namespace\":\"d\",\"name\":\"p-%d\","
			"\"generateName\":\"p-\",\"ownerReferences\":[{\"kind\":\"DaemonSet\","
			"\"name\":\"w%d\",\"controller\":true}]},"
			"\"status\":{\"podIP\":\"10.%d.%d.%d\",\"phase\":\"Running\"}}",
			i ? "," : "", i, i % 50, i >> 16, i >> 8 & 255, i & 255);
	for (int i = 0; i < 2000; i++)
		buf_printf(&b,
			   ",{\"kind\":\"Service\",\"metadata\":{\"namespace\":\"d\",\"name\":\"s-%"
			   "d\"},"
			   "\"spec\":{\"clusterIP\":\"10.96.%d.%d\",\"ports\":[{\"port\":80}]}},"
			   "{\"kind\":\"EndpointSlice\",\"metadata\":{\"namespace\":\"d\",\"name\":"
			   "\"s-%d\","
			   "\"labels\":{\"kubernetes.io/service-name\":\"s-%d\"}},\"endpoints\":["
			   "{\"addresses\":[\"10.0.%d.%d\"],\"targetRef\":{\"kind\":\"Pod\","
			   "\"name\":\"p-%d\"}}]}",
			   i, i >> 8, i & 255, i, i, i >> 8, i & 255, i);
	start = clock();
	build(buf_text(&b), &naming, &peers);
	assert_int_equal(peers.n, 5000 + 2000 + 1);
	assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
	book_free(book);
	free(book);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pods_and_cluster_ips),
		cmocka_unit_test(test_selectors_stand_in_for_slices),
		cmocka_unit_test(test_headless),
		cmocka_unit_test(test_external_addresses_and_node_ports),
		cmocka_unit_test(test_protocols),
		cmocka_unit_test(test_the_host),
		cmocka_unit_test(test_an_address_that_is_used_again),
		cmocka_unit_test(test_served),
		cmocka_unit_test(test_named_ports),
		cmocka_unit_test(test_five_thousand_pods_and_two_thousand_services),
	};

	return cmocka_run_group_tests_name("peers", tests, NULL, NULL);
}
