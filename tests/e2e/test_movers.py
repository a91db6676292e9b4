# SPDX-License-Identifier: Apache-2.0
"""Bytes that no system call of the application moved: io_uring, and TLS in the kernel."""

import pytest

from lab import Lab
from lab.command import BUILD
from test_corners import Pair

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


@pytest.fixture(scope="module")
def node():
    with Lab("movers") as lab:
        lab.agent()
        yield lab


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
    with Pair(node, f"ring-{way}") as pair:
        near, far = pair.open()
        far("t = threading.Thread(target=lambda: globals().update(got=drain(c))); t.start()")
        assert by_ring(near, way, "s") == SIZE
        near("s.close()")
        assert far("t.join() or got") == SIZE
        far("c.close()")
        pair.expect(SIZE, 0)


@pytest.mark.parametrize("way", ["recv", "read", "multishot"])
def test_received_by_io_uring(node, way):
    with Pair(node, f"ring-{way}") as pair:
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
    with Pair(node, f"ktls-{call}-{int(decrypts)}") as pair:
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
