# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Kubernetes API server: lists in pages, watches, bookmarks, over real TLS; and told to, all that a real one does
rarely: ApiServer.fault sees each request before it is answered.
"""

import base64
import collections
import http.server
import json
import pathlib
import re
import socketserver
import ssl
import subprocess
import threading
import time
import urllib.parse

RESOURCES = {
    "/api/v1/pods": ("Pod", "v1", "pods"),
    "/api/v1/services": ("Service", "v1", "services"),
    "/api/v1/namespaces": ("Namespace", "v1", "namespaces"),
    "/api/v1/nodes": ("Node", "v1", "nodes"),
    "/apis/discovery.k8s.io/v1/endpointslices": ("EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
    "/apis/apps/v1/namespaces/weir-system/daemonsets": ("DaemonSet", "apps/v1", "daemonsets"),
}
POD = re.compile(r"/api/v1/namespaces/([^/]+)/pods/([^/]+)$")
EVENTS = re.compile(r"/apis/events\.k8s\.io/v1/namespaces/([^/]+)/events$")


class Certificates:
    """An authority of its own, a server's certificate for 127.0.0.1, a client's."""

    def __init__(self, folder, name="127.0.0.1"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._key("ca")
        self._openssl("req", "-x509", "-new", "-key", "ca.key", "-subj", "/CN=stand-in-ca", "-days", "2", "-out", "ca.crt")
        self.issue("server", f"subjectAltName=IP:127.0.0.1,DNS:{'localhost' if name[0].isdigit() else name}")
        self.issue("client", "extendedKeyUsage=clientAuth")

    def _openssl(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.folder, check=True, capture_output=True)

    def _key(self, name):
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")

    def issue(self, name, extension, subject=None):
        self._key(name)
        (self.folder / "ext").write_text(extension)
        self._openssl("req", "-new", "-key", f"{name}.key", "-subj", f"/O=weir/CN={subject or name}", "-out", f"{name}.csr")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                      "-extfile", "ext", "-out", f"{name}.crt")

    def path(self, name):
        return self.folder / name

    def text(self, name):
        return self.path(name).read_text()

    def base64(self, name):
        return base64.b64encode(self.path(name).read_bytes()).decode()


def status(code, reason, message, **metadata):
    """What an API server answers when it refuses."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure", "message": message, "reason": reason,
            "code": code}


def selected(item, selector):
    """Field selectors, as far as weir uses them."""
    for term in filter(None, selector.split(",")):
        path, operator, value = re.match(r"([\w.]+)(!=|==?)(.*)", term).groups()
        have = item
        for part in path.split("."):
            have = (have or {}).get(part)
        if ((have or "") == value) == (operator == "!="):
            return False
    return True


MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
QUALIFIED_NAME = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
EVENT_FIELDS = {"apiVersion", "kind", "metadata", "eventTime", "series", "reportingController", "reportingInstance", "action", "reason",
                "regarding", "related", "note", "type"}


def wrong_event(event, namespace):
    """What an API server (1.19 or newer) would refuse of an Event that is created; None when nothing."""
    meta, about, series = event.get("metadata", {}), event.get("regarding", {}), event.get("series")
    rules = {
        "unknown field": set(event) <= EVENT_FIELDS and set(meta) <= {"name", "namespace", "labels", "annotations"},
        "apiVersion": event.get("apiVersion") == "events.k8s.io/v1" and event.get("kind") == "Event",
        "metadata.name": len(meta.get("name", "")) <= 253 and SUBDOMAIN.match(meta.get("name", "")),
        "metadata.namespace": meta.get("namespace") == namespace == about.get("namespace"),
        "regarding": all(about.get(key) for key in ("apiVersion", "kind", "name", "uid")),
        "eventTime": MICRO_TIME.match(event.get("eventTime", "")),
        "reportingController": QUALIFIED_NAME.match(event.get("reportingController", "")),
        "reportingInstance": 0 < len(event.get("reportingInstance", "").encode()) <= 128,
        "action": 0 < len(event.get("action", "").encode()) <= 128,
        "reason": 0 < len(event.get("reason", "").encode()) <= 128,
        "note": len(event.get("note", "").encode()) <= 1024,
        "type": event.get("type") in ("Normal", "Warning"),
        "series": series is None or (series.get("count", 0) >= 2 and MICRO_TIME.match(series.get("lastObservedTime", ""))),
    }
    return next((name for name, good in rules.items() if not good), None)


class Request(collections.namedtuple("Request", "method path query user body handler")):
    """One request, as faults and the log see it."""

    @property
    def resource(self):
        if POD.match(self.path):
            return "pods"
        return "events" if EVENTS.match(self.path) else RESOURCES.get(self.path, (None, None, self.path))[2]

    @property
    def verb(self):
        if self.method == "POST":
            return "create"
        if POD.match(self.path):
            return "get"
        return "watch" if self.query.get("watch") in ("1", "true") else "list"

    @property
    def continued(self):
        return "continue" in self.query

    def elsewhere(self):
        return "!=" in self.query.get("fieldSelector", "")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle(self):
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            pass

    def do_GET(self):
        self.server.api.answer(self)

    def do_POST(self):
        self.server.api.answer(self)

    def send(self, code, item, headers=(), content_type="application/json"):
        body = item if isinstance(item, bytes) else json.dumps(item).encode()
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def cut(self):
        """The connection ends in the middle, without TLS saying so."""
        self.close_connection = True
        self.connection.close()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address, api, context):
        super().__init__(address, Handler)
        self.api, self.context = api, context
        self.open = set()

    def get_request(self):
        sock, address = super().get_request()
        sock.settimeout(30)
        self.open.add(sock)
        return sock, address

    def finish_request(self, request, client_address):
        try:
            tls = self.context.wrap_socket(request, server_side=True)
        except (OSError, ssl.SSLError):
            return
        self.open.discard(request)
        self.open.add(tls)
        super().finish_request(tls, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        pass


class ApiServer:
    """Objects by resource, a version that counts up, and the events since. Use as a context.

    fault(request) is asked about every request: when it returns true, it has answered.
    """

    def __init__(self, folder, page_limit=None, bookmark_s=0.5, certificates=None):
        self.certificates = certificates or Certificates(folder)
        self.folder = self.certificates.folder
        self.lock = threading.Condition()
        self.version = 100
        self.items = {name: {} for _, _, name in RESOURCES.values()}
        self.history = []  # (version, resource, type, object, former object)
        self.compacted = 0  # watches from before this are too old
        self.page_limit, self.bookmark_s = page_limit, bookmark_s
        self.tokens = {"good-token"}
        self.client_names = {"client"}
        self.fault = None
        self.log = []  # Requests
        self.sent = collections.Counter()  # bytes of lists, by resource
        self.created = []  # Events
        self.invalid = []  # what is wrong, Event
        self.server = None
        self.port = 0
        self.generation = 0  # of the server process: watches of a former one end

    # -- life ---------------------------------------------------------------------------------------------------------------

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def context(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates.path("server.crt"), self.certificates.path("server.key"))
        context.load_verify_locations(self.certificates.path("ca.crt"))
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def start(self):
        self.server = Server(("127.0.0.1", self.port), self, self.context())
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Abrupt: connections are cut."""
        if not self.server:
            return
        server, self.server = self.server, None
        server.shutdown()
        server.server_close()
        with self.lock:
            self.generation += 1
            self.lock.notify_all()
        self.drop_connections(server)

    def drop_connections(self, server=None):
        for sock in list((server or self.server).open):
            try:
                sock.shutdown(2)
            except OSError:
                pass

    def kubeconfig(self, name="kubeconfig", user=None, cluster=None):
        """Writes one; user and cluster say what differs from a token and the authority."""
        config = {
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "stand-in", "user": "agent"}}],
            "clusters": [{"name": "stand-in", "cluster": {"server": f"https://127.0.0.1:{self.port}",
                                                          "certificate-authority-data": self.certificates.base64("ca.crt"),
                                                          **(cluster or {})}}],
            "users": [{"name": "agent", "user": {"token": "good-token"} if user is None else user}]}
        path = self.folder / name
        part = path.with_name(f".{path.name}")
        part.write_text(json.dumps(config))
        part.rename(path)
        return path

    # -- objects ------------------------------------------------------------------------------------------------------------

    def _key(self, item):
        return item["metadata"].get("namespace", ""), item["metadata"]["name"]

    def put(self, item, tell=True):
        """Adds or replaces an object; without telling, as if its event was lost."""
        name = next(name for kind, _, name in RESOURCES.values() if kind == item["kind"])
        with self.lock:
            self.version += 1
            item = json.loads(json.dumps(item))
            item["metadata"]["resourceVersion"] = str(self.version)
            former = self.items[name].get(self._key(item))
            self.items[name][self._key(item)] = item
            if tell:
                self.history.append((self.version, name, "MODIFIED" if former else "ADDED", item, former))
            self.lock.notify_all()
        return item

    def delete(self, item, tell=True):
        name = next(name for kind, _, name in RESOURCES.values() if kind == item["kind"])
        with self.lock:
            self.version += 1
            former = self.items[name].pop(self._key(item))
            if tell:
                gone = json.loads(json.dumps(former))
                gone["metadata"]["resourceVersion"] = str(self.version)
                self.history.append((self.version, name, "DELETED", gone, former))
            self.lock.notify_all()

    def compact(self):
        """What came before is forgotten: who watches from there has to list again."""
        with self.lock:
            self.version += 1
            self.compacted = self.version
            self.history.clear()
            self.generation += 1
            self.lock.notify_all()

    # -- answers ------------------------------------------------------------------------------------------------------------

    def _user(self, handler):
        certificate = handler.connection.getpeercert()
        if certificate:
            names = {value for entry in certificate["subject"] for key, value in entry if key == "commonName"}
            if names & self.client_names:
                return names.pop()
        kind, _, token = handler.headers.get("Authorization", "").partition(" ")
        return token if kind == "Bearer" and token in self.tokens else None

    def answer(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        length = int(handler.headers.get("Content-Length") or 0)
        request = Request(handler.command, url.path, query, self._user(handler), handler.rfile.read(length), handler)
        self.log.append(request)
        if self.fault and self.fault(request):
            return
        if request.user is None:
            handler.send(401, status(401, "Unauthorized", "Unauthorized"))
        elif EVENTS.match(url.path) and request.method == "POST":
            self._create_event(request)
        elif POD.match(url.path):
            self._get_pod(request, *POD.match(url.path).groups())
        elif url.path not in RESOURCES:
            handler.send(404, status(404, "NotFound", "the server could not find the requested resource"))
        elif request.verb == "watch":
            self.watch(request)
        else:
            self.list(request)

    def _get_pod(self, request, namespace, name):
        item = self.items["pods"].get((namespace, name))
        if item:
            request.handler.send(200, item)
        else:
            request.handler.send(404, status(404, "NotFound", f"pods \"{name}\" not found"))

    def _create_event(self, request):
        event = json.loads(request.body)
        wrong = wrong_event(event, EVENTS.match(request.path)[1])
        if wrong:
            self.invalid.append((wrong, event))
            request.handler.send(422, status(422, "Invalid", f"Event is invalid: {wrong}"))
            return
        names = {item["metadata"].get("name") for item in self.created}
        if event["metadata"].get("name") in names:
            request.handler.send(409, status(409, "AlreadyExists", f"events \"{event['metadata']['name']}\" already exists"))
            return
        self.created.append(event)
        request.handler.send(201, event)

    def list(self, request, answer=None):
        """answer(request, body) may answer something else than this body."""
        kind, version, name = RESOURCES[request.path]
        selector = request.query.get("fieldSelector", "")
        with self.lock:
            items = [item for _, item in sorted(self.items[name].items()) if selected(item, selector)]
            at = self.version
        limit = int(request.query.get("limit") or 0)
        if self.page_limit and limit:
            limit = min(limit, self.page_limit)
        begin = 0
        if request.continued:
            token = json.loads(base64.b64decode(request.query["continue"]))
            begin, at = token["begin"], token["version"]
            if at < self.compacted:
                request.handler.send(410, status(410, "Expired", "The provided continue parameter is too old", **{
                    "continue": base64.b64encode(json.dumps({"begin": begin, "version": self.version}).encode()).decode()}))
                return
        page = items[begin:begin + limit] if limit and self.page_limit else items[begin:]
        metadata = {"resourceVersion": str(at)}
        if begin + len(page) < len(items):
            metadata["continue"] = base64.b64encode(json.dumps({"begin": begin + len(page), "version": at}).encode()).decode()
        stripped = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in page]
        body = json.dumps({"kind": f"{kind}List", "apiVersion": version, "metadata": metadata, "items": stripped}).encode()
        self.sent[name] += len(body)
        if answer:
            answer(request, body)
        else:
            request.handler.send(200, body)

    def watch(self, request):
        kind, version, name = RESOURCES[request.path]
        selector = request.query.get("fieldSelector", "")
        at = int(request.query.get("resourceVersion") or 0)
        handler, end = request.handler, time.monotonic() + float(request.query.get("timeoutSeconds") or 300)
        handler.begin_stream()
        generation = self.generation
        if at < self.compacted:
            self.event(handler, "ERROR", status(410, "Expired", f"too old resource version: {at} ({self.compacted})"))
            handler.end_stream()
            return
        bookmark = time.monotonic() + self.bookmark_s
        while time.monotonic() < end and generation == self.generation:
            with self.lock:
                news = [entry for entry in self.history if entry[0] > at and entry[1] == name]
                if not news:
                    self.lock.wait(min(0.1, max(0, end - time.monotonic())))
            for at, _, type_, item, former in news:
                now_in, was_in = selected(item, selector), former is not None and selected(former, selector)
                if type_ != "DELETED":
                    type_ = ("MODIFIED" if was_in else "ADDED") if now_in else "DELETED" if was_in else None
                elif not was_in:
                    type_ = None
                if type_:
                    self.event(handler, type_, item)
            if request.query.get("allowWatchBookmarks") and time.monotonic() > bookmark:
                bookmark = time.monotonic() + self.bookmark_s
                with self.lock:
                    newer = [entry for entry in self.history if entry[0] > at and entry[1] == name]
                    forgotten = generation != self.generation  # nobody knows any more whether there was news
                    at = at if newer or forgotten else max(at, self.version)
                if not newer and not forgotten:
                    self.event(handler, "BOOKMARK", {"kind": kind, "apiVersion": version, "metadata": {"resourceVersion": str(at)}})
        if generation == self.generation:
            handler.end_stream()
        else:
            handler.cut()

    @staticmethod
    def event(handler, type_, item):
        handler.chunk(json.dumps({"type": type_, "object": item}).encode() + b"\n")

    # -- questions of tests -------------------------------------------------------------------------------------------------

    def requests(self, verb=None, resource=None):
        return [r for r in list(self.log) if verb in (None, r.verb) and resource in (None, r.resource)]
