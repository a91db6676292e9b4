// SPDX-License-Identifier: Apache-2.0
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"time"
)

const (
	inboundPort  = 4143
	notValidated = exitStatus(95) // Linkerd's repair controller looks for it
)

// linkerdProxy stands in for linkerd2-proxy, which no package registry has: the same listeners, and the same question
// about each accepted connection; then bytes, without TLS, policy or protocol detection.
func linkerdProxy([]string) error {
	inbound, err := listen("0.0.0.0:4143")
	if err != nil {
		return err
	}
	outbound, err := listen("127.0.0.1:4140")
	if err != nil {
		return err
	}
	go forward("inbound", inbound)
	return forward("outbound", outbound)
}

// listen does without Multipath TCP, which Go's listeners have by default and linkerd2-proxy's have not.
func listen(address string) (net.Listener, error) {
	var config net.ListenConfig
	config.SetMultipathTCP(false)
	return config.Listen(context.Background(), "tcp", address)
}

func forward(direction string, listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			if err := forwardOne(direction, conn); err != nil {
				fmt.Println(direction, conn.RemoteAddr(), err)
			}
		}()
	}
}

func forwardOne(direction string, conn net.Conn) error {
	dialled, err := originalDst(conn)
	if err != nil {
		return fmt.Errorf("no original destination: %w", err)
	}
	if dialled.Port() == inboundPort { // a probe of kubelet's, or a proxy that knows us: to dial it would never end
		return fmt.Errorf("inbound connection must not target port %d", inboundPort)
	}
	onward, err := net.DialTimeout("tcp", dialled.String(), patience)
	if err != nil {
		conn.(*net.TCPConn).SetLinger(0) // as linkerd2-proxy: the application sees a reset
		return err
	}
	defer onward.Close()
	fmt.Println("access", direction, conn.RemoteAddr(), dialled)
	done := make(chan bool)
	go copyHalf(onward, conn, done)
	go copyHalf(conn, onward, done)
	<-done
	<-done
	return nil
}

func copyHalf(to, from net.Conn, done chan<- bool) {
	io.Copy(to, from)
	to.(*net.TCPConn).CloseWrite()
	done <- true
}

// validateLinkerd is linkerd-network-validator: what it dials must reach what it listens on.
func validateLinkerd(args []string) error {
	flags := flag.NewFlagSet("linkerd2-network-validator", flag.ContinueOnError)
	listen := flags.String("listen-addr", "0.0.0.0:4140", "")
	connect := flags.String("connect-addr", "1.1.1.1:20001", "")
	timeout := flags.Duration("timeout", 10*time.Second, "")
	flags.String("log-format", "plain", "")
	flags.String("log-level", "info", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	token := fmt.Sprintf("%063d\n", time.Now().UnixNano())
	go func() {
		for {
			if conn, err := listener.Accept(); err == nil {
				io.WriteString(conn, token)
				conn.Close()
			}
		}
	}()
	conn, err := net.DialTimeout("tcp", *connect, *timeout)
	if err != nil {
		fmt.Println("unable to connect to", *connect, err)
		return notValidated
	}
	conn.SetDeadline(time.Now().Add(*timeout))
	if got, _ := bufio.NewReader(conn).ReadString('\n'); got != token {
		fmt.Println("the connection reached another server than ours")
		return notValidated
	}
	fmt.Println("successfully validated network")
	return nil
}
