// SPDX-License-Identifier: Apache-2.0

//go:debug multipathtcp=2

// A proxy as Go's net.Listen makes it: tells whoever comes where SO_ORIGINAL_DST says that they were going, as the probe does.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"syscall"
)

const soOriginalDst = 80

// sockaddr_in lies in the first bytes of any structure that getsockopt() may fill.
func original(conn *net.TCPConn) string {
	text := ""
	raw, err := conn.SyscallConn()
	if err != nil {
		return text
	}
	raw.Control(func(fd uintptr) {
		got, err := syscall.GetsockoptIPv6Mreq(int(fd), syscall.IPPROTO_IP, soOriginalDst)
		if err == nil {
			a := got.Multiaddr
			text = fmt.Sprintf("%d.%d.%d.%d:%d", a[4], a[5], a[6], a[7], int(a[2])<<8|int(a[3]))
		}
	})
	return text
}

func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		fmt.Fprintf(conn, "{\"listener\": \"%s\", \"odst_ip\": \"%s\", \"sockname\": \"%s\", \"peername\": \"%s\"}\n",
			listener.Addr(), original(conn.(*net.TCPConn)), conn.LocalAddr(), conn.RemoteAddr())
		conn.Close()
	}
}

func main() {
	for _, address := range os.Args[1:] {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			log.Fatal(err)
		}
		go serve(listener)
	}
	select {}
}
