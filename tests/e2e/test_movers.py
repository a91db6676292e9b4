# SPDX-License-Identifier: Apache-2.0
"""Bytes that no system call of the application moved: io_uring, TLS in the kernel, and other people's programs on the sockets."""

import pytest

from lab.command import BUILD, run
from pairs import Streams
from support import BPFTOOL, compile_bpf

RING, NOT_THERE = BUILD / "tests" / "ring", 77
SIZE = 300000
TLS = """
TCP_ULP, SOL_TLS, TLS_TX, TLS_RX = 31, 282, 1, 2
def key(which):  # TLS 1.2, AES-128-GCM: version, cipher, iv, key, salt, number of the next record
    return struct.pack("HH", 0x0303, 51) + bytes([which] * 8) + bytes([which] * 16) + bytes([which] * 4) + bytes(8)
def encrypt(s): s.setsockopt(IPPROTO_TCP, TCP_ULP, b"tls"); s.setsockopt(SOL_TLS, TLS_TX, key(1))
def decrypt(s): s.setsockopt(IPPROTO_TCP, TCP_ULP, b"tls"); s.setsockopt(SOL_TLS, TLS_RX, key(1))
"""
RECORD, OVERHEAD = 16384, 5 + 8 + 16  # a record's payload at most; its header, its nonce and its tag


def by_ring(shell, way, socket):
    """How many bytes io_uring moved over a socket of this shell."""
    code = f"subprocess.run(['{RING}', '{way}', str({socket}.fileno()), '{SIZE}'], pass_fds=[{socket}.fileno()], capture_output=True, text=True)"
    shell(f"done = {code}")
    if shell("done.returncode") == NOT_THERE:
        pytest.skip(f"this kernel's io_uring cannot {way}: {shell('done.stderr')}")
    assert shell("done.returncode") == 0, shell("done.stderr")
    return int(shell("done.stdout"))


@pytest.mark.parametrize("way", ["send", "write", "sendmsg", "zerocopy"])
def test_sent_by_io_uring(node, way):
    with Streams(node, f"ring-{way}") as pair:
        near, far = pair.open()
        far("t = threading.Thread(target=lambda: globals().update(got=drain(c))); t.start()")
        assert by_ring(near, way, "s") == SIZE
        near("s.close()")
        assert far("t.join() or got") == SIZE
        far("c.close()")
        pair.expect(SIZE, 0)


@pytest.mark.parametrize("way", ["recv", "read", "multishot"])
def test_received_by_io_uring(node, way):
    with Streams(node, f"ring-{way}") as pair:
        near, far = pair.open()
        near(f"t = threading.Thread(target=lambda: s.sendall(b'x' * {SIZE})); t.start()")
        assert by_ring(far, way, "c") == SIZE
        near("t.join(); s.close()")
        far("c.close()")
        pair.expect(SIZE, 0)


@pytest.mark.parametrize("decrypts", [False, True])
@pytest.mark.parametrize("call", ["sendall", "sendfile"])
def test_tls_in_the_kernel(node, call, decrypts):
    """Counted is what TCP carries: records, their headers and tags included."""
    wire = SIZE + OVERHEAD * -(-SIZE // RECORD)
    with Streams(node, f"ktls-{call}-{int(decrypts)}") as pair:
        near, far = pair.open()
        for shell in (near, far):
            shell(TLS)
        if near.errno("encrypt(s)") == "ENOENT":
            pytest.skip("this kernel has no TLS (module tls)")
        if decrypts:
            far("decrypt(c)")
        far("t = threading.Thread(target=lambda: globals().update(got=drain(c))); t.start()")
        near({"sendall": f"s.sendall(b'x' * {SIZE})",
              "sendfile": f"f = tempfile.TemporaryFile(); f.write(b'x' * {SIZE}); f.seek(0); os.sendfile(s.fileno(), f.fileno(), 0, {SIZE})"}[call])
        near("s.shutdown(SHUT_WR)")
        assert far("t.join() or got") == (SIZE if decrypts else wire)
        far("c.close()")
        near("drain(s); s.close()")
        pair.expect(wire, 0)


# What tracing agents (sk_msg that lets all pass), parsers (sk_skb) and accelerators (sk_msg that redirects) attach to sockets.
VERDICTS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); } sockets SEC(".maps");
SEC("sk_msg") int message_pass(struct sk_msg_md *m) { return SK_PASS; }
SEC("sk_msg") int message_over(struct sk_msg_md *m) { return bpf_msg_redirect_map(m, &sockets, 1, BPF_F_INGRESS); }
SEC("sk_skb/stream_verdict") int packet_pass(struct __sk_buff *skb) { return SK_PASS; }
char gpl[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def verdicts(node, tmp_path_factory):
    """The folder in which these programs and their map are pinned."""
    folder = node.bpf_dir.parent / "verdicts"
    run(BPFTOOL, "prog", "loadall", compile_bpf(tmp_path_factory.mktemp("verdicts"), "verdicts", VERDICTS), folder, "pinmaps", folder)
    return folder


@pytest.mark.parametrize("program, kind, counted", [
    ("message_pass", "sk_msg_verdict", True), ("packet_pass", "sk_skb_stream_verdict", True), ("message_over", "sk_msg_verdict", False)])
def test_programs_on_the_sockets(node, verdicts, program, kind, counted):
    """What TCP moves counts, whoever looks on; what is handed from socket to socket never comes to TCP."""
    run(BPFTOOL, "prog", "attach", "pinned", verdicts / program, kind, "pinned", verdicts / "sockets")
    try:
        with Streams(node, program.replace("_", "-")) as pair:
            near, far = pair.open()
            near("s.sendall(b'x' * 1000)")
            far("drain(c, 1000)")
            for shell, socket, index in ((near, "s", 0), (far, "c", 1)):
                shell(f"fd = {socket}.fileno(); subprocess.run(['{BPFTOOL}', 'map', 'update', 'pinned', '{verdicts / 'sockets'}', 'key', 'hex', '0{index}', '00', '00', '00',"
                      " 'value', 'hex', '%02x' % fd, '00', '00', '00'], pass_fds=[fd], check=True) and None")
            far(f"t = threading.Thread(target=lambda: globals().update(got=drain(c, {SIZE}))); t.start()")
            near(f"s.sendall(b'x' * {SIZE})")
            assert far("t.join() or got") == SIZE
            far("c.sendall(b'y' * 70) if %r else None" % counted)
            near("drain(s, 70) if %r else None; s.close()" % counted)
            far("c.close()")
            pair.expect(1000 + SIZE * counted, 70 * counted)
    finally:
        run(BPFTOOL, "prog", "detach", "pinned", verdicts / program, kind, "pinned", verdicts / "sockets")
